#!/bin/sh
# k8s.io/apiextensions-apiserver v0.34.4 (Kubernetes 1.34), Go 1.24 or newer, two minutes the first time.
#
# A list in a CustomResourceDefinition whose items have no type (x-kubernetes-preserve-unknown-fields, as for values that may
# be numbers or texts) takes null as one of them, and nothing refuses the object when it is created. If a transition rule
# compares what the list is in (`self == oldSelf`, the usual way to make a field immutable), each later write ends in an
# error, as rules know no null where `nullable` is not set: also one of the status subresource, which leaves the list alone.
# Ratcheting does not help. A controller can then never say anything of that object. `nullable: true` on the items mends it.
#
# Seen:
#   items that are not nullable: creation 0 errors, status write 1 errors: got null for schema with nullable=false
#   items that are nullable: creation 0 errors, status write 0 errors
#
# Fails where the object is refused when it is created, or its status is taken.
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
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	limits "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

const reason = "got null for schema with nullable=false"

// resource has a spec that cannot be changed, with a list of values of any type, and a status.
func resource(nullable bool) v1.JSONSchemaProps {
	yes := true
	value := v1.JSONSchemaProps{XPreserveUnknownFields: &yes, Nullable: nullable}
	values := v1.JSONSchemaProps{Type: "array", Items: &v1.JSONSchemaPropsOrArray{Schema: &value}}
	spec := v1.JSONSchemaProps{
		Type: "object", Properties: map[string]v1.JSONSchemaProps{"values": values},
		XValidations: v1.ValidationRules{{Rule: "self == oldSelf"}},
	}
	step := v1.JSONSchemaProps{Type: "integer"}
	status := v1.JSONSchemaProps{Type: "object", Properties: map[string]v1.JSONSchemaProps{"step": step}}
	return v1.JSONSchemaProps{
		Type: "object", Properties: map[string]v1.JSONSchemaProps{"spec": spec, "status": status},
	}
}

func thing(step int64) map[string]any {
	spec := map[string]any{"values": []any{"text", nil}}
	return map[string]any{"spec": spec, "status": map[string]any{"step": step}}
}

// errors are those that the API server tells, by the schema and then by its rules; old is nil at creation.
func errors(props v1.JSONSchemaProps, new, old map[string]any) []string {
	var internal apiextensions.JSONSchemaProps
	must(v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&props, &internal, nil))
	structural, err := schema.NewStructural(&internal)
	must(err)
	byTypes, _, err := validation.NewSchemaValidator(&internal)
	must(err)
	told := validation.ValidateCustomResource(nil, new, byTypes)
	rules := cel.NewValidator(structural, true, limits.PerCallLimit)
	var options []cel.Option
	var before any
	if old != nil {
		before = old
		both := common.NewCorrelatedObject(new, old, &model.Structural{Structural: structural})
		options = append(options, cel.WithRatcheting(both))
	}
	more, _ := rules.Validate(context.Background(), field.NewPath("root"), structural, new, before, limits.RuntimeCELCostBudget, options...)
	var texts []string
	for _, each := range append(told, more...) {
		texts = append(texts, each.Error())
	}
	return texts
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	for _, nullable := range []bool{false, true} {
		props := resource(nullable)
		creation, write := errors(props, thing(1), nil), errors(props, thing(2), thing(1))
		name := map[bool]string{false: "are not nullable", true: "are nullable"}[nullable]
		why := ""
		if strings.Contains(strings.Join(write, "\n"), reason) {
			why = ": " + reason
		}
		fmt.Printf("items that %s: creation %d errors, status write %d errors%s\n", name, len(creation), len(write), why)
	}
}
GO
export GOFLAGS=-mod=mod
go mod tidy >/dev/null 2>&1
go run . >seen
cat seen
cat >expected <<'TEXT'
items that are not nullable: creation 0 errors, status write 1 errors: got null for schema with nullable=false
items that are nullable: creation 0 errors, status write 0 errors
TEXT
diff expected seen
