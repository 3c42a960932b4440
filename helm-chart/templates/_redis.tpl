{{/* redis.conf. The queue must never lose what it said it has, and refuse what it has no room for. */}}

{{- define "telemetry.redisConfig" -}}
{{- $redis := .Values.redis | default dict -}}
port {{ dig "port" 6379 $redis | int }}
dir /data
# the append-only file alone: snapshots would only write everything twice
appendonly yes
appendfsync {{ dig "appendfsync" "everysec" $redis }}
save ""
maxmemory {{ include "telemetry.redisBytes" . }}
# any other policy would throw away the whole queue to make room
maxmemory-policy noeviction
tcp-keepalive 60
{{- with $redis.extraConfig }}
{{ . }}
{{- end }}
# the password, from a Secret
include /etc/redis/auth/auth.conf
{{- end }}

{{- define "telemetry.redisSecurity" -}}
{{- $own := dict "runAsNonRoot" true "runAsUser" 999 "runAsGroup" 1000 "fsGroup" 1000 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- dig "podSecurityContext" $own . | toYaml -}}
{{- end }}

{{/* The key of the queue's stream. */}}
{{- define "telemetry.streamKey" -}}
{{- $queue := .Values.queue | default dict -}}
{{- printf "%s:{%s}" (dig "namespace" "gpu" $queue) (dig "topic" "samples" $queue) -}}
{{- end }}

{{/* Its memory: data, and half as much again for the rewriting of the append-only file, and for the buffers of clients. */}}
{{- define "telemetry.redisMemory" -}}
{{- $bytes := include "telemetry.redisBytes" . | int64 -}}
request: {{ div $bytes 1048576 }}Mi
limit: {{ div (add (div (mul $bytes 3) 2) 134217728) 1048576 }}Mi
{{- end }}
