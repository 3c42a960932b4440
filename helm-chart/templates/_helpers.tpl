{{/* Names, labels and images. What a pod is made of is in _pod.tpl, its settings in _settings.tpl. */}}

{{- define "telemetry.name" -}}
{{- .Values.fullnameOverride | default "telemetry" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The name of an object: (list $ "api"). */}}
{{- define "telemetry.named" -}}
{{- printf "%s-%s" (include "telemetry.name" (index . 0)) (index . 1) -}}
{{- end }}

{{/* What selects pods, and may never change: (list $ "api"). */}}
{{- define "telemetry.selector" -}}
{{ include "telemetry.instance" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "telemetry.instance" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of an object: (list $ "api"). */}}
{{- define "telemetry.labels" -}}
{{ include "telemetry.ownLabels" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "telemetry.ownLabels" -}}
{{- $root := index . 0 -}}
{{ include "telemetry.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: telemetry
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* metadata of an object: (list $ "api" "telemetry-api"); without a name it is the component's. */}}
{{- define "telemetry.metadata" -}}
{{- $root := index . 0 -}}
name: {{ if and (gt (len .) 2) (kindIs "string" (last .)) }}{{ last . }}{{ else }}{{ include "telemetry.named" . }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "telemetry.labels" . | nindent 2 }}
{{- end }}

{{/* An image as text; "repository:tag" or a map, of which the map `common` has what is missing: (list image common). */}}
{{- define "telemetry.imageText" -}}
{{- $image := index . 0 | default dict -}}
{{- if kindIs "string" $image -}}
{{- $image -}}
{{- else -}}
{{- $common := ternary (index . 1) dict (kindIs "map" (index . 1)) -}}
{{- $repository := $image.repository | default $common.repository -}}
{{- $digest := $image.digest | default (ternary "" $common.digest (hasKey $image "tag")) -}}
{{- if $digest -}}
{{- printf "%s@%s" $repository $digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default $common.tag) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* image and imagePullPolicy of a role: (list $ values). */}}
{{- define "telemetry.image" -}}
{{- $root := index . 0 -}}
{{- $common := $root.Values.image | default dict -}}
{{- $known := dict "repository" "telemetry-pipeline" "tag" $root.Chart.AppVersion -}}
{{- $own := (index . 1).image -}}
{{- if kindIs "string" $common -}}
{{- $own = $own | default $common -}}
{{- else -}}
{{- range $key, $value := $common }}{{ if $value }}{{ $_ := set $known $key $value }}{{ end }}{{ end -}}
{{- end -}}
image: {{ include "telemetry.imageText" (list $own $known) | quote }}
{{ include "telemetry.pullPolicy" $root }}
{{- end }}

{{- define "telemetry.pullPolicy" -}}
imagePullPolicy: {{ if kindIs "map" .Values.image }}{{ .Values.image.pullPolicy | default "IfNotPresent" }}{{ else }}IfNotPresent{{ end }}
{{- end }}

{{/* Bytes of a size of Redis' (100mb, 1gb, 1k, 1000). */}}
{{- define "telemetry.bytes" -}}
{{- $text := lower (toString .) -}}
{{- $number := regexFind "^[0-9]+" $text | int64 -}}
{{- $unit := regexFind "[a-z]*$" $text -}}
{{- $factors := dict "" 1 "k" 1000 "kb" 1024 "m" 1000000 "mb" 1048576 "g" 1000000000 "gb" 1073741824 -}}
{{- mul $number (get $factors $unit) -}}
{{- end }}

{{/* Thousandths of a quantity as Kubernetes writes it (512Mi, 1.5, 250m); -1 where it is written in another way. */}}
{{- define "telemetry.quantity" -}}
{{- $text := include "telemetry.plain" . -}}
{{- $factors := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- if regexMatch "^[0-9]+([.][0-9]+)?m$" $text -}}
{{- trimSuffix "m" $text | float64 | floor | int64 -}}
{{- else if regexMatch "^[0-9]+([.][0-9]+)?([kMGTP]|[KMGTP]i)?$" $text -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) (get $factors (regexFind "[a-zA-Z]*$" $text)) 1000 | int64 -}}
{{- else -}}
-1
{{- end -}}
{{- end }}

{{/* The memory of a full queue: capacity x maxBytes, and a quarter more, as the broker reckons. */}}
{{- define "telemetry.queueBytes" -}}
{{- $queue := .Values.queue | default dict -}}
{{- div (mul (dig "capacity" 500 $queue | int64) (dig "maxBytes" 1048576 $queue | int64) 5) 4 -}}
{{- end }}

{{/* maxmemory: what is said, or a full queue and 64 MiB for Redis itself. */}}
{{- define "telemetry.redisBytes" -}}
{{- $said := include "telemetry.plain" (dig "maxmemory" "" (.Values.redis | default dict)) -}}
{{- if $said -}}
{{- include "telemetry.bytes" $said -}}
{{- else -}}
{{- add (include "telemetry.queueBytes" . | int64) 67108864 -}}
{{- end -}}
{{- end }}

{{/* "yes" where the chart brings this server: (list $ "redis"). */}}
{{- define "telemetry.own" -}}
{{- if dig "enabled" true (get (index . 0).Values (index . 1) | default dict) }}yes{{ end -}}
{{- end }}
