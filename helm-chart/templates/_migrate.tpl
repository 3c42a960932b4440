{{/*
The migration, as an init container of streamers and collectors: whoever starts first brings the schema up to date, the
others find it done (an advisory lock). The owner's login is mounted there, and nowhere else. The API needs none: it waits.
*/}}

{{- define "telemetry.migrates" -}}
{{- if dig "migration" "enabled" true (.Values.postgres | default dict) }}yes{{ end -}}
{{- end }}

{{/* "yes" where the migration gives writer and reader their passwords. */}}
{{- define "telemetry.givesLogins" -}}
{{- $said := dig "migration" "logins" "auto" (.Values.postgres | default dict) | toString -}}
{{- if or (eq $said "true") (and (eq $said "auto") (include "telemetry.own" (list . "postgres"))) }}yes{{ end -}}
{{- end }}

{{/* (list $ "streamer" values) */}}
{{- define "telemetry.migration" -}}
{{- $root := index . 0 -}}
{{- if include "telemetry.migrates" $root }}
- name: migrate
  {{- include "telemetry.image" (list $root (index . 2)) | nindent 2 }}
  args: [migrate, --wait, {{ dig "migration" "wait" 600 ($root.Values.postgres | default dict) | toString | quote }}]
  env:
    {{- include "telemetry.logSettings" $root | nindent 4 }}
    {{- include "telemetry.variable" (list "DATABASE_URL_FILE" "/etc/telemetry/logins/owner") | nindent 4 }}
    {{- if include "telemetry.givesLogins" $root }}
    {{- include "telemetry.variable" (list "MIGRATE_WRITER_URL_FILE" "/etc/telemetry/logins/writer") | nindent 4 }}
    {{- include "telemetry.variable" (list "MIGRATE_READER_URL_FILE" "/etc/telemetry/logins/reader") | nindent 4 }}
    {{- end }}
  volumeMounts:
    - name: logins
      mountPath: /etc/telemetry/logins
      readOnly: true
    {{- include "telemetry.tmpMount" . | nindent 4 }}
  {{- include "telemetry.containerSecurity" . | nindent 2 }}
  resources:
    requests: {cpu: 50m, memory: 96Mi}
    limits: {memory: 256Mi}
{{- end }}
{{- end }}

{{- define "telemetry.migrationVolume" -}}
{{- $root := . -}}
{{- if include "telemetry.migrates" . }}
- name: logins
  projected:
    defaultMode: 0440
    sources:
      {{- range ternary (list "owner" "writer" "reader") (list "owner") (eq (include "telemetry.givesLogins" .) "yes") }}
      - secret:
          name: {{ include "telemetry.databaseSecret" (list $root .) }}
          items:
            - key: {{ include "telemetry.databaseKey" (list $root .) }}
              path: {{ . }}
      {{- end }}
{{- end }}
{{- end }}
