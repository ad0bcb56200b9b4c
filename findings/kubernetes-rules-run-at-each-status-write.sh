#!/bin/sh
# k8s.io/apiextensions-apiserver v0.34.4 (Kubernetes 1.34), Go 1.24 or newer, two minutes the first time.
#
# Rules of a CustomResourceDefinition (x-kubernetes-validations) on `spec` are evaluated at each write of the status
# subresource as well, whose spec cannot change. Ratcheting, stable since 1.33, forgives a rule that an unchanged part of
# the object breaks, but it evaluates the rule first: the budget that it takes is that of a creation. And each field that a
# rule reads copies the schemas of all fields beside it: a rule on one of 300 fields allocates some thirty times as much as
# the same rule on one of three. Who lets pods write their progress into the status of a resource with many rules and wide
# objects pays for both at each of these writes: it was a fifth of an API server's time.
#
# Seen:
#   cost of creation 3, of a status write that leaves spec alone 3
#   the rule that an old spec breaks: creation 1 error, status write 0 errors, cost 3
#   bytes of one evaluation beside 300 fields: more than 20 times those beside 3
#
# Fails where a status write costs less than a creation, or where wide objects are no dearer.
set -eu
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
cat >go.mod <<'TEXT'
module seen

go 1.24.0

require (
	k8s.io/apiextensions-apiserver v0.34.4
	k8s.io/apiserver v0.34.4
)
TEXT
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apimachinery/pkg/util/validation/field"
	limits "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

const budget = limits.RuntimeCELCostBudget

func object(properties map[string]schema.Structural) schema.Structural {
	return schema.Structural{Generic: schema.Generic{Type: "object"}, Properties: properties}
}

// resource has a spec of so many numbers with one rule, and a status.
func resource(fields int) *schema.Structural {
	number := schema.Structural{Generic: schema.Generic{Type: "integer"}}
	numbers := map[string]schema.Structural{}
	for i := range fields {
		numbers[fmt.Sprintf("f%d", i)] = number
	}
	spec := object(numbers)
	spec.ValidationExtensions.XValidations = apiextensions.ValidationRules{{Rule: "self.f0 >= 0"}}
	made := object(map[string]schema.Structural{
		"spec": spec, "status": object(map[string]schema.Structural{"step": number}),
	})
	return &made
}

func thing(value, step int64) map[string]any {
	return map[string]any{"spec": map[string]any{"f0": value}, "status": map[string]any{"step": step}}
}

// validate returns the number of errors and what it took of the budget; old is nil at creation.
func validate(s *schema.Structural, rules *cel.Validator, new, old map[string]any) (int, int64) {
	var options []cel.Option
	var before any
	if old != nil {
		before = old
		both := common.NewCorrelatedObject(new, old, &model.Structural{Structural: s})
		options = append(options, cel.WithRatcheting(both))
	}
	errs, left := rules.Validate(context.Background(), field.NewPath("root"), s, new, before, budget, options...)
	return len(errs), budget - left
}

// bytes are those of one status write, the mean of many.
func bytes(fields int) float64 {
	s := resource(fields)
	rules := cel.NewValidator(s, true, limits.PerCallLimit)
	old, new := thing(1, 1), thing(1, 2)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 2000 {
		validate(s, rules, new, old)
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / 2000
}

func main() {
	s := resource(3)
	rules := cel.NewValidator(s, true, limits.PerCallLimit)
	_, creation := validate(s, rules, thing(1, 1), nil)
	_, write := validate(s, rules, thing(1, 2), thing(1, 1))
	fmt.Printf("cost of creation %d, of a status write that leaves spec alone %d\n", creation, write)
	broken, _ := validate(s, rules, thing(-1, 1), nil)
	forgiven, cost := validate(s, rules, thing(-1, 2), thing(-1, 1))
	fmt.Printf("the rule that an old spec breaks: creation %d error, status write %d errors, cost %d\n", broken, forgiven, cost)
	few, many := bytes(3), bytes(300)
	fmt.Fprintf(os.Stderr, "bytes: %.0f beside 3 fields, %.0f beside 300\n", few, many)
	if many > 20*few {
		fmt.Println("bytes of one evaluation beside 300 fields: more than 20 times those beside 3")
	}
}
GO
export GOFLAGS=-mod=mod
go mod tidy >/dev/null 2>&1
go run . >seen
cat seen
cat >expected <<'TEXT'
cost of creation 3, of a status write that leaves spec alone 3
the rule that an old spec breaks: creation 1 error, status write 0 errors, cost 3
bytes of one evaluation beside 300 fields: more than 20 times those beside 3
TEXT
diff expected seen
