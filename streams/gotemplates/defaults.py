"""The templates Alertmanager has built in, which configurations name: written anew to give the same text.

`email.default.html` is not among them: without a template of that name a mail has our own form.
"""

_BASE = """\
{{- define "__alertmanager" }}Alertmanager{{ end -}}
{{- define "__alertmanagerURL" }}{{ .ExternalURL }}/#/alerts?receiver={{ urlquery .Receiver }}{{ end -}}
{{- define "__subject" }}[{{ toUpper .Status -}}
  {{- if eq .Status "firing" }}:{{ len .Alerts.Firing }}{{ end }}] {{ join " " .GroupLabels.SortedPairs.Values -}}
  {{- " " }}{{ if lt (len .GroupLabels) (len .CommonLabels) -}}
    ({{ with .CommonLabels.Remove .GroupLabels.Names }}{{ join " " .Values }}{{ end }})
  {{- end }}{{ end -}}
{{- define "__description" }}{{ end -}}
{{- define "__text_alert_list" }}{{ range . }}Labels:
{{ range .Labels.SortedPairs }} - {{ .Name }} = {{ .Value }}
{{ end }}Annotations:
{{ range .Annotations.SortedPairs }} - {{ .Name }} = {{ .Value }}
{{ end }}Source: {{ .GeneratorURL }}
{{ end }}{{ end -}}
"""
_ABOUT = '{{ join " " .CommonAnnotations.SortedPairs.Values }}'
_PART = """{{ with .Alerts.%s }}Alerts %s:
{{ template "__text_alert_list" . }}{{ end }}"""
_FIRING, _RESOLVED = (_PART % (state, state) for state in ("Firing", "Resolved"))
_CLOSE = f"\n{_FIRING}\n{_RESOLVED}"
_WIDE = "\n{{ with .Alerts.Firing }}\n{{ end }}" + _FIRING + "{{ with .Alerts.Firing }}\n{{ end }}"
_WIDE += "\n{{ with .Alerts.Resolved }}\n{{ end }}" + _RESOLVED + "{{ with .Alerts.Resolved }}\n{{ end }}\n"
_SUBJECT = '{{ template "__subject" . }}'
_NAME = '{{ template "__alertmanager" . }}'
_URL = '{{ template "__alertmanagerURL" . }}'
_NAMED = {
    "email.default.subject": _SUBJECT,
    "slack.default.title": _SUBJECT,
    "slack.default.username": _NAME,
    "slack.default.fallback": '{{ template "slack.default.title" . }} | {{ template "slack.default.titlelink" . }}',
    "slack.default.callbackid": "",
    "slack.default.pretext": "",
    "slack.default.titlelink": _URL,
    "slack.default.iconemoji": "",
    "slack.default.iconurl": "",
    "slack.default.text": "",
    "slack.default.footer": "",
    "pagerduty.default.description": _SUBJECT,
    "pagerduty.default.client": _NAME,
    "pagerduty.default.clientURL": _URL,
    "pagerduty.default.instances": '{{ template "__text_alert_list" . }}',
    "opsgenie.default.message": _SUBJECT,
    "opsgenie.default.description": _ABOUT + _CLOSE,
    "opsgenie.default.source": _URL,
    "wechat.default.message": f"{_SUBJECT}\n{_ABOUT}{_CLOSE}\nAlertmanagerUrl:\n{_URL}",
    "wechat.default.to_user": "",
    "wechat.default.to_party": "",
    "wechat.default.to_tag": "",
    "wechat.default.agent_id": "",
    "victorops.default.state_message": _ABOUT + _CLOSE,
    "victorops.default.entity_display_name": _SUBJECT,
    "victorops.default.monitoring_tool": _NAME,
    "pushover.default.title": _SUBJECT,
    "pushover.default.message": _ABOUT + _WIDE,
    "pushover.default.url": _URL,
    "sns.default.subject": _SUBJECT,
    "sns.default.message": _ABOUT + _WIDE,
    "telegram.default.message": _WIDE,
    "discord.default.title": _SUBJECT,
    "discord.default.message": _WIDE,
    "webex.default.message": _ABOUT + _WIDE,
}
DEFAULTS = _BASE + "".join(f'{{{{ define "{name}" }}}}{body}{{{{ end }}}}' for name, body in _NAMED.items())
NAMES = ("__alertmanager", "__alertmanagerURL", "__subject", "__description", "__text_alert_list", *_NAMED)
