{{/* Secrets: which one holds what, and texts that are made once and kept. */}}

{{/* What a Secret in the cluster holds under a key, decoded; else nothing: (list $ secret key). */}}
{{- define "telemetry.kept" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) | default dict -}}
{{- get ($found.data | default dict) (index . 2) | default "" | b64dec -}}
{{- end }}

{{/*
A password: the one in the cluster, or a new one: (list $ secret key).
It is remembered, because several templates ask for it and chance would give each another.
*/}}
{{- define "telemetry.password" -}}
{{- $root := index . 0 -}}
{{- $id := printf "%s/%s" (index . 1) (index . 2) -}}
{{- if not $root.telemetryMade }}{{ $_ := set $root "telemetryMade" dict }}{{ end -}}
{{- if not (hasKey $root.telemetryMade $id) -}}
{{- $_ := set $root.telemetryMade $id (include "telemetry.kept" . | default (randAlphaNum 40)) -}}
{{- end -}}
{{- get $root.telemetryMade $id -}}
{{- end }}

{{/* Metadata of a Secret that was made once: it belongs to the volumes, so it stays as long as they do. */}}
{{- define "telemetry.keptMetadata" -}}
{{ include "telemetry.metadata" . }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}

{{/* Redis: the name of the Secret that has the URL. */}}
{{- define "telemetry.redisSecret" -}}
{{- (.Values.redis | default dict).existingSecret | default (include "telemetry.named" (list . "redis")) -}}
{{- end }}

{{- define "telemetry.redisUrl" -}}
{{- $redis := .Values.redis | default dict -}}
{{- if include "telemetry.own" (list . "redis") -}}
{{- $password := include "telemetry.password" (list . (include "telemetry.redisSecret" .) "password") -}}
{{- printf "redis://:%s@%s:%d/0" $password (include "telemetry.named" (list . "redis")) (dig "port" 6379 $redis | int) -}}
{{- else -}}
{{- $redis.url -}}
{{- end -}}
{{- end }}

{{/*
Which of owner, writer, reader says how a role logs in: (list $ "reader"). With a database of one's own the writer's
login is the owner's unless said, the reader's is the writer's.
*/}}
{{- define "telemetry.login" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- if not (include "telemetry.own" (list $root "postgres")) -}}
{{- $postgres := $root.Values.postgres | default dict -}}
{{- if and (eq $role "reader") (not (or (dig "reader" "url" "" $postgres) (dig "reader" "existingSecret" "" $postgres))) -}}
{{- $role = "writer" -}}
{{- end -}}
{{- if and (eq $role "writer") (not (or (dig "writer" "url" "" $postgres) (dig "writer" "existingSecret" "" $postgres))) -}}
{{- $role = "owner" -}}
{{- end -}}
{{- end -}}
{{- $role -}}
{{- end }}

{{/* What is said of a login: (list $ "reader"). */}}
{{- define "telemetry.loginValues" -}}
{{- get ((index . 0).Values.postgres | default dict) (include "telemetry.login" .) | default dict | toYaml -}}
{{- end }}

{{/* The name of the Secret by which a role logs in: (list $ "reader"). */}}
{{- define "telemetry.databaseSecret" -}}
{{- $said := include "telemetry.loginValues" . | fromYaml -}}
{{- $said.existingSecret | default (include "telemetry.named" (list (index . 0) (printf "postgres-%s" (include "telemetry.login" .)))) -}}
{{- end }}

{{- define "telemetry.databaseKey" -}}
{{- $said := include "telemetry.loginValues" . | fromYaml -}}
{{- $said.key | default "url" -}}
{{- end }}

{{/* The user of a role: (list $ "reader"). */}}
{{- define "telemetry.databaseUser" -}}
{{- if eq (index . 1) "owner" -}}
{{- dig "user" "gpu" ((index . 0).Values.postgres | default dict) -}}
{{- else -}}
{{- printf "telemetry_%s" (index . 1) -}}
{{- end -}}
{{- end }}

{{- define "telemetry.databaseUrl" -}}
{{- $root := index . 0 -}}
{{- $postgres := $root.Values.postgres | default dict -}}
{{- if include "telemetry.own" (list $root "postgres") -}}
{{- $password := include "telemetry.password" (list $root (include "telemetry.databaseSecret" .) "password") -}}
{{- $place := printf "%s:%d/%s" (include "telemetry.named" (list $root "postgres")) (dig "port" 5432 $postgres | int) (dig "database" "gpu" $postgres) -}}
{{- printf "postgresql://%s:%s@%s" (include "telemetry.databaseUser" .) $password $place -}}
{{- else -}}
{{- (include "telemetry.loginValues" . | fromYaml).url -}}
{{- end -}}
{{- end }}

{{/*
So that pods follow a Secret of this chart, they carry a digest of what they take from it: (list $ text ..). Those of
Secrets made by others the chart does not know.
*/}}
{{- define "telemetry.digest" -}}
{{- join "\n" . | sha256sum | trunc 16 -}}
{{- end }}

{{/* The API's tokens, as digests: what `telemetry token create` would write. A token that is known keeps its date. */}}
{{- define "telemetry.tokensFile" -}}
{{- $root := . -}}
{{- $clear := include "telemetry.named" (list . "api-tokens") -}}
{{- $known := dict -}}
{{- range (include "telemetry.kept" (list . (include "telemetry.named" (list . "api-digests")) "tokens.json") | default "{}" | fromJson).tokens -}}
{{- $_ := set $known .sha256 .created -}}
{{- end -}}
{{- $rows := list -}}
{{- range include "telemetry.tokens" . | fromYamlArray -}}
{{- $token := include "telemetry.token" (list $root $clear .name) -}}
{{- $digest := sha256sum $token -}}
{{- $created := get $known $digest | default (dateInZone "2006-01-02T15:04:05Z07:00" now "UTC") -}}
{{- $rows = append $rows (dict "name" .name "scope" .scope "sha256" $digest "starts" (trunc 8 $token) "created" $created "expires" nil) -}}
{{- end -}}
{{- dict "tokens" $rows | toPrettyJson -}}
{{- end }}

{{- define "telemetry.tokens" -}}
{{- dig "auth" "tokens" (list (dict "name" "admin" "scope" "admin") (dict "name" "reader" "scope" "read")) (.Values.api | default dict) | toYaml -}}
{{- end }}

{{/* The name of the token that does for asking: one of scope read, else the first. */}}
{{- define "telemetry.askingToken" -}}
{{- $tokens := include "telemetry.tokens" . | fromYamlArray -}}
{{- $name := (first $tokens).name -}}
{{- range reverse $tokens }}{{ if eq .scope "read" }}{{ $name = .name }}{{ end }}{{ end -}}
{{- $name -}}
{{- end }}

{{/* Prometheus asks, and keeps what it asks with where others read it: no token that may do more is given to it. */}}
{{- define "telemetry.refuseStrongScraper" -}}
{{- $monitor := include "telemetry.monitoringValues" (list . "serviceMonitor") | fromYaml -}}
{{- $asks := or (dig "gpus" true $monitor) (dig "metricsAuth" false (.Values.api | default dict)) -}}
{{- if and $asks (include "telemetry.makesTokens" .) (not $monitor.tokenSecret) -}}
{{- $scopes := list -}}
{{- range include "telemetry.tokens" . | fromYamlArray }}{{ $scopes = append $scopes .scope }}{{ end -}}
{{- if not (has "read" $scopes) -}}
{{- include "telemetry.refuse" (list "api.auth.tokens" (printf "none is of scope read, so Prometheus would be given one of scope %s; add {name: prometheus, scope: read}, name a Secret with such a token in monitoring.serviceMonitor.tokenSecret, or set monitoring.serviceMonitor.enabled=false" (first $scopes))) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A token: the one in the cluster, or a new one: (list $ secret name). */}}
{{- define "telemetry.token" -}}
{{- $root := index . 0 -}}
{{- $text := include "telemetry.password" . -}}
{{- if hasPrefix "tlm_" $text }}{{ $text }}{{ else }}{{ printf "tlm_%s" $text }}{{ end -}}
{{- end }}

{{/* "yes" where the chart makes the tokens. */}}
{{- define "telemetry.makesTokens" -}}
{{- $auth := (.Values.api | default dict).auth | default dict -}}
{{- if and (dig "enabled" true $auth) (not $auth.existingSecret) }}yes{{ end -}}
{{- end }}
