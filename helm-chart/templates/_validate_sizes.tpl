{{/* Sizes that contradict each other: memory and processor time that are promised and allowed, and volumes. */}}

{{/* What each is promised and may take, as its pod has it: (list $ "redis"), as YAML. */}}
{{- define "telemetry.resourcesOf" -}}
{{- $root := index . 0 -}}
{{- $said := dig "resources" dict (get $root.Values (index . 1) | default dict) -}}
{{- $requests := $said.requests | default dict -}}
{{- $limits := $said.limits | default dict -}}
{{- if eq (index . 1) "redis" -}}
{{- $own := include "telemetry.redisMemory" $root | fromYaml -}}
{{- $requests = merge (dict) $requests (dict "memory" $own.request) -}}
{{- $limits = merge (dict) $limits (dict "memory" $own.limit) -}}
{{- end -}}
{{- dict "requests" $requests "limits" $limits | toYaml -}}
{{- end }}

{{- define "telemetry.validateResources" -}}
{{- $root := . -}}
{{- range $name := list "streamer" "collector" "api" "redis" "postgres" -}}
{{- if or (not (has $name (list "redis" "postgres"))) (include "telemetry.own" (list $root $name)) -}}
{{- $found := include "telemetry.resourcesOf" (list $root $name) | fromYaml -}}
{{- range $kind, $limit := $found.limits -}}
{{- $request := get $found.requests $kind -}}
{{- $most := include "telemetry.quantity" $limit | int64 -}}
{{- $least := include "telemetry.quantity" ($request | default "0") | int64 -}}
{{- if and (ge $most 0) (gt $least $most) -}}
{{- include "telemetry.refuse" (list (printf "%s.resources.limits.%s" $name $kind) (printf "%v is less than what it is promised (%v); raise it, or lower %s" $limit $request (ternary "redis.maxmemory or queue.capacity" (printf "%s.resources.requests.%s" $name $kind) (and (eq $name "redis") (eq $kind "memory"))))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $api := .Values.api | default dict -}}
{{- if and (dig "autoscaling" "enabled" false $api) (not (dig "resources" "requests" "cpu" "" $api)) -}}
{{- if or (hasKey $api "resources") -}}
{{- include "telemetry.refuse" (list "api.resources.requests.cpu" "api.autoscaling goes by the share of it that is used; set it (250m), or api.autoscaling.enabled=false") -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "telemetry.validateVolumes" -}}
{{- $root := . -}}
{{- range $name := list "redis" "postgres" -}}
{{- $values := get $root.Values $name | default dict -}}
{{- $persistence := $values.persistence | default dict -}}
{{- if include "telemetry.own" (list $root $name) -}}
{{- if and (not (dig "enabled" true $persistence)) $persistence.existingClaim -}}
{{- include "telemetry.refuse" (list (printf "%s.persistence.existingClaim" $name) (printf "%s.persistence.enabled=false lets nothing outlive the pod; set it to true, or leave existingClaim empty" $name)) -}}
{{- end -}}
{{- if and (eq $name "redis") (dig "enabled" true $persistence) (not $persistence.existingClaim) -}}
{{- $size := dig "size" "8Gi" $persistence -}}
{{- $thousandths := include "telemetry.quantity" $size | int64 -}}
{{- $need := mul (include "telemetry.redisBytes" $root | int64) 2 -}}
{{- if and (ge $thousandths 0) (lt (div $thousandths 1000) $need) -}}
{{- include "telemetry.refuse" (list "redis.persistence.size" (printf "%v is less than twice redis' memory (%dMi), which its append-only file may take while it is rewritten; raise it, or lower redis.maxmemory or queue.capacity" $size (div (add $need 1048575) 1048576))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
