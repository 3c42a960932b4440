{{/*
Settings of the roles, as environment variables. A password never stands in one: they name files (*_FILE), and each pod
mounts the Secret of its own role only.
*/}}

{{/* One variable: (list "NAME" value). */}}
{{- define "telemetry.variable" -}}
- name: TELEMETRY_{{ index . 0 }}
  value: {{ include "telemetry.plain" (index . 1) | quote }}
{{- end }}

{{/* A value as text; large whole numbers come as floats from JSON, and must not be written as 1e+06. */}}
{{- define "telemetry.plain" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- define "telemetry.logSettings" -}}
{{- $log := .Values.log | default dict -}}
{{ include "telemetry.variable" (list "LOG_LEVEL" (dig "level" "info" $log)) }}
{{ include "telemetry.variable" (list "LOG_FORMAT" (dig "format" "json" $log)) }}
{{- end }}

{{/* Where the queue is, and what everybody must agree about. */}}
{{- define "telemetry.queueSettings" -}}
{{- $queue := .Values.queue | default dict -}}
{{ include "telemetry.variable" (list "REDIS_URL_FILE" "/etc/telemetry/queue/url") }}
{{ include "telemetry.variable" (list "QUEUE_NAMESPACE" (dig "namespace" "gpu" $queue)) }}
{{ include "telemetry.variable" (list "QUEUE_TOPIC" (dig "topic" "samples" $queue)) }}
{{ include "telemetry.variable" (list "QUEUE_CAPACITY" (dig "capacity" 500 $queue)) }}
{{ include "telemetry.variable" (list "QUEUE_MAX_BYTES" (dig "maxBytes" 1048576 $queue)) }}
{{- end }}

{{/* .. and what streamers and collectors must agree about. */}}
{{- define "telemetry.leaseSettings" -}}
{{- $queue := .Values.queue | default dict -}}
{{ include "telemetry.variable" (list "QUEUE_LEASE" (dig "lease" 15 $queue)) }}
{{ include "telemetry.variable" (list "QUEUE_MAX_ATTEMPTS" (dig "maxAttempts" 5 $queue)) }}
{{- end }}

{{- define "telemetry.databaseSettings" -}}
{{ include "telemetry.variable" (list "DATABASE_URL_FILE" "/etc/telemetry/database/url") }}
{{- end }}

{{- define "telemetry.healthSettings" -}}
{{ include "telemetry.variable" (list "HEALTH_PORT" 8081) }}
{{ include "telemetry.variable" (list "HEALTH_HOST" "0.0.0.0") }}
{{- end }}

{{- define "telemetry.queueMount" -}}
- name: queue
  mountPath: /etc/telemetry/queue
  readOnly: true
{{- end }}

{{- define "telemetry.databaseMount" -}}
- name: database
  mountPath: /etc/telemetry/database
  readOnly: true
{{- end }}

{{/* A volume of one key of a Secret, as the file url: (list volume secret key). */}}
{{- define "telemetry.urlVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items:
      - key: {{ index . 2 }}
        path: url
{{- end }}

{{- define "telemetry.queueVolume" -}}
{{ include "telemetry.urlVolume" (list "queue" (include "telemetry.redisSecret" .) "url") }}
{{- end }}

{{/* (list $ "reader") */}}
{{- define "telemetry.databaseVolume" -}}
{{ include "telemetry.urlVolume" (list "database" (include "telemetry.databaseSecret" .) (include "telemetry.databaseKey" .)) }}
{{- end }}

{{- define "telemetry.tmpVolume" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ . }}
{{- end }}

{{- define "telemetry.tmpMount" -}}
- name: tmp
  mountPath: /tmp
{{- end }}

{{/* What a role takes from this chart's Secrets, in short: (list $ "reader"). */}}
{{- define "telemetry.secretsDigest" -}}
{{- $root := index . 0 -}}
{{- $texts := list -}}
{{- if not (dig "existingSecret" "" ($root.Values.redis | default dict)) -}}
{{- $texts = append $texts (include "telemetry.redisUrl" $root) -}}
{{- end -}}
{{- if not (include "telemetry.loginValues" . | fromYaml).existingSecret -}}
{{- $texts = append $texts (include "telemetry.databaseUrl" .) -}}
{{- end -}}
{{- include "telemetry.digest" $texts -}}
{{- end }}
