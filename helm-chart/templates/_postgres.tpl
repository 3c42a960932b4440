{{/* What the database's pod is started with. */}}

{{- define "telemetry.postgresSecurity" -}}
{{- $own := dict "runAsNonRoot" true "runAsUser" 70 "runAsGroup" 70 "fsGroup" 70 "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- dig "podSecurityContext" $own . | toYaml -}}
{{- end }}

{{/* Settings of the server, without which a queue at full speed would wait for checkpoints, or queries for memory. */}}
{{- define "telemetry.postgresParameters" -}}
{{- dig "parameters" dict . | toYaml -}}
{{- end }}

{{- define "telemetry.postgresArguments" -}}
- postgres
- -c
- port={{ dig "port" 5432 . | int }}
- -c
- shared_preload_libraries=timescaledb
{{- range $name, $value := include "telemetry.postgresParameters" . | fromYaml }}
- -c
- {{ printf "%s=%s" $name (include "telemetry.plain" $value) | quote }}
{{- end }}
{{- end }}
