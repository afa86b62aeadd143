{{/* What everything begins with: the release's name. */}}
{{- define "mailtier.name" -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What tells the pods of a tier. Called with a list: the root, the tier. */}}
{{- define "mailtier.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Labels of an object of a tier. Called likewise. */}}
{{- define "mailtier.labels" -}}
{{- $root := index . 0 -}}
{{ include "mailtier.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end -}}

{{- define "mailtier.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What programs listen on: of both families where there are two. */}}
{{- define "mailtier.anyAddress" -}}
{{- ternary "[::]" "0.0.0.0" (has "IPv6" .Values.ipFamilies) -}}
{{- end -}}

{{/* Neither root, nor writing to the image, nor anything else that mail does not need. */}}
{{- define "mailtier.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "mailtier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What all pods begin with. Called with the root. */}}
{{- define "mailtier.podHead" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ .Values.serviceAccountName }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "mailtier.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* Where a tier's pods go. Called with a list: the root, the tier. */}}
{{- define "mailtier.placement" -}}
{{- $root := index . 0 -}}
{{- $tier := index . 1 -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels: {{- include "mailtier.selector" (list $root $tier) | nindent 8 }}
    # Of a rollout each generation is spread by itself.
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end -}}

{{- define "mailtier.nodes" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The secrets of a tier, in one volume, so that they change together. Called with a list: the root, the tier. */}}
{{- define "mailtier.secrets" -}}
{{- $root := index . 0 -}}
{{- $tier := index . 1 -}}
{{- $name := include "mailtier.name" $root -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ $root.Values.secrets.name }}
          items:
            - {key: cluster-secret, path: cluster-secret}
            {{- if eq $tier "queue" }}
            - {key: admin-secret, path: admin-secret}
            {{- end }}
      {{- if eq $tier "queue" }}
      - secret:
          name: {{ $root.Values.database.secretName }}
          items:
            - {key: {{ $root.Values.database.secretKey }}, path: database-url}
      {{- end }}
      {{- if $root.Values.tls.enabled }}
      - secret:
          name: {{ $name }}-{{ $tier }}-tls
          items:
            - {key: tls.crt, path: tls/tls.crt}
            - {key: tls.key, path: tls/tls.key}
            - {key: ca.crt, path: tls/ca.crt}
      {{- end }}
      {{- if eq $tier "queue" }}
      {{- with $root.Values.queue.apiTls.secretName }}
      - secret:
          name: {{ . }}
          items:
            - {key: tls.crt, path: api/tls.crt}
            - {key: tls.key, path: api/tls.key}
      {{- end }}
      {{- end }}
      {{- if eq $tier "inbound" }}
      {{- with $root.Values.inbound.tls.secretName }}
      - secret:
          name: {{ . }}
          items:
            - {key: tls.crt, path: smtp/tls.crt}
            - {key: tls.key, path: smtp/tls.key}
      {{- end }}
      {{- end }}
      {{- range (index $root.Values $tier).extraSecrets }}
      - secret:
          name: {{ .name }}
          {{- if .items }}
          items: {{- toYaml .items | nindent 12 }}
          {{- end }}
      {{- end }}
{{- end -}}

{{/* What every tier's environment has. Called with a list: the root, the tier. All read one file, and each looks at all of
it: what its listeners need is said to each. */}}
{{- define "mailtier.env" -}}
{{- $root := index . 0 -}}
{{- $tier := index . 1 -}}
{{- $section := upper $tier -}}
- {name: MAILTIER__CLUSTER__SECRET_FILE, value: /run/secrets/mailtier/cluster-secret}
{{- if $root.Values.tls.enabled }}
- {name: MAILTIER__CLUSTER__TLS_CERTIFICATE, value: /run/secrets/mailtier/tls/tls.crt}
- {name: MAILTIER__CLUSTER__TLS_KEY, value: /run/secrets/mailtier/tls/tls.key}
- {name: MAILTIER__CLUSTER__TLS_CA, value: /run/secrets/mailtier/tls/ca.crt}
{{- if and (eq $tier "queue") (not $root.Values.tls.required) }}
- {name: MAILTIER__CLUSTER__TLS_REQUIRED, value: "false"}
{{- end }}
{{- end }}
{{- if $root.Values.inbound.tls.secretName }}
- {name: MAILTIER__INBOUND__TLS_CERTIFICATE, value: /run/secrets/mailtier/smtp/tls.crt}
- {name: MAILTIER__INBOUND__TLS_KEY, value: /run/secrets/mailtier/smtp/tls.key}
{{- end }}
{{- if ne $tier "queue" }}
- name: MAILTIER__{{ $section }}__QUEUE
  value: {{ ternary "https" "http" $root.Values.tls.enabled }}://{{ include "mailtier.name" $root }}-queue:7070
{{- end }}
- {name: MAILTIER__{{ $section }}__DRAIN_TIMEOUT, value: {{ (index $root.Values $tier).drainSeconds }}s}
{{- with $root.Values.otlpEndpoint }}
- {name: MAILTIER__TELEMETRY__OTLP_ENDPOINT, value: {{ quote . }}}
{{- end }}
{{- with (index $root.Values $tier).env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Health, as every program tells it. */}}
{{- define "mailtier.probes" -}}
startupProbe:
  httpGet: {path: /healthz/live, port: http}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /healthz/ready, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- define "mailtier.mounts" -}}
- {name: config, mountPath: /etc/mailtier, readOnly: true}
- {name: secrets, mountPath: /run/secrets/mailtier, readOnly: true}
{{- end -}}

{{/* mailtier.toml: what the operator says, then the listeners that follow from values. */}}
{{- define "mailtier.config" -}}
{{ trim .Values.config }}
{{- if .Values.inbound.proxyNetworks }}

[[inbound.listeners]]
name = "mx"
listen = [{{ printf "%s:2525" (include "mailtier.anyAddress" $) | quote }}]
proxy_networks = {{ toJson .Values.inbound.proxyNetworks }}
{{- end }}
{{- if .Values.inbound.tls.secretName }}
{{- range list (list "submission" "2587" "required") (list "submissions" "2465" "implicit") }}

[[inbound.listeners]]
name = {{ index . 0 | quote }}
listen = [{{ printf "%s:%s" (include "mailtier.anyAddress" $) (index . 1) | quote }}]
protocol = "submission"
tls = {{ index . 2 | quote }}
{{- with $.Values.inbound.proxyNetworks }}
proxy_networks = {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A change of the configuration starts pods anew. */}}
{{- define "mailtier.checksum" -}}
checksum/config: {{ printf "%s%s" (include "mailtier.config" .) (toJson .Values.outbound.nodes) | sha256sum }}
{{- end -}}

{{/* Up at once, down slowly: a session that is cut off costs more than a pod that idles. */}}
{{- define "mailtier.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 30}
    - {type: Pods, value: 4, periodSeconds: 30}
scaleDown:
  stabilizationWindowSeconds: 600
  policies:
    - {type: Pods, value: 1, periodSeconds: 120}
{{- end -}}

{{/* The rule of a policy that lets a tier reach PostgreSQL. Called with the root. */}}
{{- define "mailtier.toDatabase" -}}
{{- with .Values.networkPolicy.database -}}
- to: {{- toYaml .to | nindent 4 }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}
{{- end -}}
