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

{{- define "telemetry.postgresImage" -}}
image: {{ include "telemetry.imageText" (list (dig "image" "timescale/timescaledb:2.29.2-pg18" .) (dict "repository" "timescale/timescaledb" "tag" "2.29.2-pg18")) | quote }}
{{- end }}

{{- define "telemetry.postgresEnv" -}}
- name: POSTGRES_DB
  value: {{ dig "database" "gpu" . | quote }}
- name: POSTGRES_USER
  value: {{ dig "user" "gpu" . | quote }}
- name: POSTGRES_PASSWORD_FILE
  value: /etc/telemetry/owner/password
- name: POSTGRES_INITDB_ARGS
  value: {{ dig "initdbArgs" "--data-checksums --auth-host=scram-sha-256 --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8" . | quote }}
- name: PGDATA
  value: /pgdata/data
- name: PGPORT
  value: {{ dig "port" 5432 . | toString | quote }}
# the settings are those of postgres.parameters
- name: NO_TS_TUNE
  value: "true"
{{- end }}

{{- define "telemetry.postgresMounts" -}}
- name: data
  mountPath: /pgdata
- name: owner
  mountPath: /etc/telemetry/owner
  readOnly: true
- name: run
  mountPath: /var/run/postgresql
- name: shm
  mountPath: /dev/shm
{{ include "telemetry.tmpMount" . }}
{{- end }}
