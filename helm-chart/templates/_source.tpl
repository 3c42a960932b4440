{{/* Where a streamer's CSV comes from: the image, a volume claim, or an address from which it is fetched first. */}}

{{- define "telemetry.source" -}}
{{- dig "source" dict (.Values.streamer | default dict) | toYaml -}}
{{- end }}

{{- define "telemetry.claimed" -}}
{{- dig "pvc" "claimName" "" (include "telemetry.source" . | fromYaml) -}}
{{- end }}

{{/* What is fetched, where anything is: the address, or the file that a Secret of one's own has it in. */}}
{{- define "telemetry.fetches" -}}
{{- $url := dig "url" dict (include "telemetry.source" . | fromYaml) -}}
{{- if $url.existingSecret }}@/etc/telemetry/address/address{{ else }}{{ $url.address | default "" }}{{ end -}}
{{- end }}

{{- define "telemetry.sourceFile" -}}
{{- $source := include "telemetry.source" . | fromYaml -}}
{{- if include "telemetry.claimed" . -}}
/source/{{ dig "pvc" "path" "dcgm.csv" $source | trimPrefix "/" }}
{{- else if include "telemetry.fetches" . -}}
/source/fetched.csv
{{- else -}}
{{- dig "file" "/data/dcgm.csv" $source -}}
{{- end -}}
{{- end }}

{{- define "telemetry.sourceMount" -}}
{{- if or (include "telemetry.claimed" .) (include "telemetry.fetches" .) }}
- name: source
  mountPath: /source
  readOnly: true
{{- end }}
{{- end }}

{{- define "telemetry.sourceVolumes" -}}
{{- $source := include "telemetry.source" . | fromYaml -}}
{{- if include "telemetry.claimed" . }}
- name: source
  persistentVolumeClaim:
    claimName: {{ include "telemetry.claimed" . }}
    readOnly: true
{{- else if include "telemetry.fetches" . }}
- name: source
  emptyDir:
    sizeLimit: {{ dig "url" "sizeLimit" "10Gi" $source }}
- name: fetch
  configMap:
    name: {{ include "telemetry.named" (list . "streamer-fetch") }}
{{- with dig "url" "existingSecret" "" $source }}
- name: address
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items: [{key: address, path: address}]
{{- end }}
{{- end }}
{{- end }}

{{/* The init container that fetches; (list $ "streamer" values). Each streamer fetches its own copy. */}}
{{- define "telemetry.fetch" -}}
{{- $root := index . 0 -}}
{{- $source := include "telemetry.source" $root | fromYaml -}}
- name: fetch
  {{- include "telemetry.image" (list $root (index . 2)) | nindent 2 }}
  command: [python3, /etc/telemetry/fetch/fetch.py]
  args:
    - {{ include "telemetry.fetches" $root | quote }}
    - /source/fetched.csv
    {{- with dig "url" "sha256" "" $source }}
    - {{ . | quote }}
    {{- end }}
  volumeMounts:
    - name: fetch
      mountPath: /etc/telemetry/fetch
      readOnly: true
    - name: source
      mountPath: /source
    {{- if dig "url" "existingSecret" "" $source }}
    - name: address
      mountPath: /etc/telemetry/address
      readOnly: true
    {{- end }}
  {{- include "telemetry.containerSecurity" . | nindent 2 }}
  resources:
    requests: {cpu: 50m, memory: 32Mi}
    limits: {memory: 128Mi}
{{- end }}
