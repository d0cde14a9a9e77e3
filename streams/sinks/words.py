"""The few words of our own in messages, in English and Chinese. Pure."""

from __future__ import annotations

from collections.abc import Callable

LANGUAGES = ("en", "zh")
Say = Callable[[str], str]
"""An English word or sentence of ours in the reader's language."""
_ZH = {
    "FIRING": "告警",
    "RESOLVED": "已恢复",
    "TEST": "测试",
    "firing": "触发中",
    "resolved": "已恢复",
    "pending": "待触发",
    "no_data": "无数据",
    "error": "错误",
    "in": "位于",
    "since": "开始于",
    "until": "结束于",
    "and": "另有",
    "more": "条",
    "no alerts": "没有告警",
    "Notification": "通知",
    "Note": "注意",
    "Alerts": "告警",
    "Logs": "日志",
    "Events": "事件",
    "What changed before": "此前的变更",
    "Kubernetes events": "Kubernetes 事件",
    "Last log lines": "最近的日志",
    "Runbook": "处置手册",
    "Source": "来源",
    "Records": "记录",
    "record": "记录",
    "notification": "通知",
    "critical": "严重",
    "warning": "警告",
    "info": "提示",
    "Sent by Eventsphere to receiver": "由 Eventsphere 发送给接收者",
    "The usual form of this message could not be rendered": "此消息无法按其模板渲染, 以下为纯文本",
    "Your digest": "您的通知摘要",
    "Digest of what could not be delivered in time": "未能及时送达的通知摘要",
}


def english(text: str) -> str:
    return text


def words(language: str) -> Say:
    """English for a language we do not have."""
    return (lambda text: _ZH.get(text, text)) if language == "zh" else english
