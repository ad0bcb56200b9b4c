{{/* The name that every namespaced object of this release carries. */}}
{{- define "dino-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What finds the operator's pods. Never changes for a release: a Deployment's selector is immutable. */}}
{{- define "dino-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dino-operator.labels" -}}
{{ include "dino-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* repository:tag, or repository@digest where the tag is a digest. Call with (dict "image" … "root" $). */}}
{{- define "dino-operator.image" -}}
{{- $tag := .image.tag | default .root.Chart.AppVersion -}}
{{- if hasPrefix "sha256:" $tag -}}
{{- printf "%s@%s" .image.repository $tag -}}
{{- else -}}
{{- printf "%s:%s" .image.repository $tag -}}
{{- end -}}
{{- end -}}

{{/* Ends the rendering where the cluster has no such kind. Call with (list $ "group/version/Kind" "the value that asks for it"). */}}
{{- define "dino-operator.served" -}}
{{- $root := index . 0 -}}
{{- if not ($root.Capabilities.APIVersions.Has (index . 1)) -}}
{{- fail (printf "%s is set, and the cluster does not serve %s: install its CRD first, or leave the value out (without a cluster, as by helm template, add --api-versions %s)" (index . 2) (index . 1) (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* The variables of every training pod, as JSON: the proxy's in both spellings, as programs read either; then trainer.extraEnv. */}}
{{- define "dino-operator.trainerEnv" -}}
{{- $env := dict -}}
{{- range $name, $value := dict "HTTP_PROXY" .Values.proxy.http "HTTPS_PROXY" .Values.proxy.https "NO_PROXY" .Values.proxy.noProxy -}}
{{- if $value -}}
{{- $_ := set $env $name $value -}}
{{- $_ := set $env (lower $name) $value -}}
{{- end -}}
{{- end -}}
{{- merge (deepCopy .Values.trainer.extraEnv) $env | toJson -}}
{{- end -}}

{{- define "dino-operator.pullSecrets" -}}
{{- $names := list -}}
{{- range .Values.trainer.imagePullSecrets }}{{ $names = append $names .name }}{{ end -}}
{{- join "," $names -}}
{{- end -}}
