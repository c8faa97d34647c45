{{- define "latchkey.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if contains $name .Release.Name -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "latchkey.labels" -}}
{{ include "latchkey.family" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Selects every pod in the release, because the network policy also applies to the job. */ -}}
{{- define "latchkey.family" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* Selects the serving pods, because a service must not route to a job's pod. */ -}}
{{- define "latchkey.selector" -}}
{{ include "latchkey.family" . }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "latchkey.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "latchkey.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "latchkey.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "latchkey.podSecurity" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- /* OpenShift assigns each namespace its own id range, and rejects a pod that specifies a group outside it. */ -}}
{{ toYaml (omit .Values.podSecurityContext "fsGroup" "fsGroupChangePolicy") }}
{{- else -}}
{{ toYaml .Values.podSecurityContext }}
{{- end -}}
{{- end -}}

{{- define "latchkey.containerSecurity" -}}
{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end -}}

{{- /* The pod settings that the serving pods and the job's pod share. */ -}}
{{- define "latchkey.podBasics" -}}
serviceAccountName: {{ include "latchkey.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
# No uid is set, because the image specifies one and OpenShift assigns its own.
securityContext: {{- include "latchkey.podSecurity" . | nindent 2 }}
initContainers:
  # Secrets are mounted as root and world-readable, but the proxy requires files that it owns with mode 0600.
  - name: secrets
    image: {{ include "latchkey.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [/usr/local/bin/node, /opt/latchkey/docker/copy-secrets.mjs, /mnt/secrets, /run/latchkey/secrets]
    securityContext: {{ include "latchkey.containerSecurity" . }}
    resources: {{- toYaml .Values.initResources | nindent 6 }}
    volumeMounts:
      - { name: mounted-secrets, mountPath: /mnt/secrets, readOnly: true }
      - { name: secrets, mountPath: /run/latchkey/secrets }
  {{- with .Values.extraInitContainers }}{{ toYaml . | nindent 2 }}{{ end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "latchkey.mounts" -}}
- { name: config, mountPath: /etc/latchkey, readOnly: true }
- { name: tls, mountPath: /run/latchkey/tls, readOnly: true }
- { name: secrets, mountPath: /run/latchkey/secrets, readOnly: true }
{{- if .Values.clientCertificate.configMap }}
- { name: client-ca, mountPath: /run/latchkey/ca, readOnly: true }
{{- end }}
- { name: data, mountPath: /var/lib/latchkey }
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "latchkey.volumes" -}}
- { name: config, configMap: { name: {{ include "latchkey.name" . }} } }
- { name: tls, secret: { secretName: {{ .Values.tlsSecret }} } }
- { name: mounted-secrets, secret: { secretName: {{ .Values.secretsName }} } }
- { name: secrets, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
{{- if .Values.clientCertificate.configMap }}
- { name: client-ca, configMap: { name: {{ .Values.clientCertificate.configMap }} } }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
