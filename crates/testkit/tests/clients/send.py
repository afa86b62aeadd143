"""Sends mail with Python's own library in every way it knows. Each case checks what the server says; whoever starts the
script looks at what arrives. Everything it needs is in its environment."""

import os
import smtplib
import ssl
from email.message import EmailMessage

HOST = "127.0.0.1"
USER = os.environ["USER_NAME"]
PASSWORD = os.environ["PASSWORD"]
PLAIN_TEXT = b"From: user@client.example\r\nSubject: by python\r\n\r\n.dot\r\nend\r\n"


def port(listener):
    return int(os.environ[listener + "_PORT"])


def context():
    return ssl.create_default_context(cafile=os.environ["CA_FILE"])


def connected(listener="SMTP"):
    return smtplib.SMTP(HOST, port(listener), local_hostname="client.example", timeout=30)


def recipient(name):
    return f"python-{name}@sink.example"


def features():
    with connected() as smtp:
        code, _ = smtp.ehlo()
        assert code == 250, code
        offered = smtp.esmtp_features
        for keyword in ("pipelining", "size", "8bitmime", "smtputf8", "chunking", "binarymime", "dsn", "starttls"):
            assert smtp.has_extn(keyword), (keyword, offered)
        assert int(offered["size"]) == 50 * 1024 * 1024, offered
        assert not smtp.has_extn("auth"), offered
        assert smtp.noop()[0] == 250 and smtp.rset()[0] == 250
        for keyword in ("deliverby", "mt-priority", "limits", "etrn", "vrfy", "expn", "xclient", "xforward"):
            assert smtp.has_extn(keyword), (keyword, offered)
        assert "RCPTMAX=1000" in offered["limits"].split(), offered
        assert smtp.verify("someone@sink.example") == (250, b"2.1.5 <someone@sink.example>")
        assert smtp.expn("someone@sink.example") == (250, b"2.1.5 <someone@sink.example>")
        assert smtp.verify("someone@elsewhere.example")[0] == 252
        assert smtp.docmd("ETRN", "sink.example")[0] in (250, 251)
        assert smtp.docmd("ETRN", "elsewhere.example")[0] == 459
        assert smtp.docmd("help")[0] == 214


def eight_bit():
    with connected() as smtp:
        content = "From: user@client.example\r\nSubject: 8bit\r\n\r\nGrüße\r\n".encode()
        refused = smtp.sendmail(USER, [recipient("eight-bit")], content, mail_options=["BODY=8BITMIME"])
        assert refused == {}, refused


def internationalised():
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "пётр@client.example", "用户@sink.example", "Grüße"
    message.set_content("こんにちは\n")
    with connected() as smtp:
        assert smtp.send_message(message) == {}


def size():
    with connected() as smtp:
        smtp.ehlo()
        code, text = smtp.mail(USER, ["SIZE=99999999999"])
        assert code == 552 and text.startswith(b"5.3.4 "), (code, text)
        try:
            smtp.sendmail(USER, [recipient("nobody")], b"x" * (51 * 1024 * 1024))
            raise AssertionError("51 MiB were taken")
        except smtplib.SMTPSenderRefused as refusal:
            assert refusal.smtp_code == 552, refusal


def refusals():
    with connected() as smtp:
        smtp.ehlo()
        assert smtp.docmd("MAIL FROM:<a b@client.example>")[0] in (501, 553)
        assert smtp.docmd("RCPT", "TO:<someone@sink.example>")[0] == 503
        assert smtp.docmd("NONSENSE")[0] == 500
        assert smtp.mail(USER)[0] == 250
        assert smtp.docmd("DATA")[0] in (503, 554)


def dsn():
    with connected() as smtp:
        refused = smtp.sendmail(
            "python-dsn@client.example",
            [recipient("dsn")],
            PLAIN_TEXT,
            mail_options=["RET=HDRS", "ENVID=python-1"],
            rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;dsn@sink.example"],
        )
        assert refused == {}, refused


def chunks():
    with connected() as smtp:
        smtp.ehlo()
        assert smtp.mail(USER)[0] == 250
        assert smtp.rcpt(recipient("chunks"))[0] == 250
        for chunk in (b"Subject: chu", b"nks\r\n\r\n.\r\n"):
            smtp.send(b"BDAT %d\r\n" % len(chunk) + chunk)
            assert smtp.getreply()[0] == 250
        smtp.send(b"BDAT 13 LAST\r\nnot the end\r\n")
        code, text = smtp.getreply()
        assert code == 250 and text.startswith(b"2.6.0 "), (code, text)


def priority_and_deadline():
    with connected() as smtp:
        smtp.ehlo()
        assert smtp.docmd("XFORWARD", "NAME=origin.example ADDR=192.0.2.7 HELO=origin.example IDENT=4711")[0] == 250
        options = ["MT-PRIORITY=4", "BY=600;N", "BODY=8BITMIME"]
        assert smtp.sendmail(USER, [recipient("priority")], PLAIN_TEXT, mail_options=options) == {}
        for nonsense in (["MT-PRIORITY=10"], ["BY=0;R"], ["BY=600"], ["BY=600;N", "BY=600;N"], ["HOLDFOR=60"]):
            code, text = smtp.mail(USER, nonsense)
            assert code in (501, 555), (nonsense, code, text)


def held_and_required():
    with connected("SUBMISSION") as smtp:
        smtp.starttls(context=context())
        smtp.ehlo()
        assert smtp.esmtp_features["futurerelease"].split()[0] == "3600", smtp.esmtp_features
        assert smtp.login(USER, PASSWORD)[0] == 235
        assert smtp.mail(USER, ["HOLDFOR=3601"])[0] == 501
        assert smtp.sendmail(USER, [recipient("held")], PLAIN_TEXT, mail_options=["HOLDFOR=2"]) == {}
        # The next host has no TLS: the message never goes there in clear (RFC 8689 section 4.2.1).
        assert smtp.sendmail(USER, [recipient("required")], PLAIN_TEXT, mail_options=["REQUIRETLS"]) == {}


def starttls():
    with connected() as smtp:
        assert smtp.starttls(context=context())[0] == 220
        smtp.ehlo()
        assert not smtp.has_extn("starttls") and smtp.has_extn("requiretls")
        assert smtp.sock.version() == "TLSv1.3", smtp.sock.version()
        assert smtp.sendmail(USER, [recipient("starttls")], PLAIN_TEXT) == {}


def login():
    with connected("SUBMISSION") as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth"), "logins are not offered in clear"
        smtp.starttls(context=context())
        smtp.ehlo()
        assert "SCRAM-SHA-256" in smtp.esmtp_features["auth"].split(), smtp.esmtp_features
        assert smtp.mail(USER)[0] == 530
        try:
            smtp.login(USER, "wrong horse")
            raise AssertionError("the wrong password was taken")
        except smtplib.SMTPAuthenticationError as refusal:
            assert refusal.smtp_code == 535, refusal
        assert smtp.login(USER, PASSWORD)[0] == 235
        assert smtp.sendmail(USER, [recipient("login")], PLAIN_TEXT) == {}
        code, _ = smtp.mail("somebody.else@client.example")
        assert code == 553, code


def login_without_initial_response():
    for mechanism in ("PLAIN", "LOGIN"):
        with connected("SUBMISSION") as smtp:
            smtp.starttls(context=context())
            smtp.ehlo()
            smtp.user, smtp.password = USER, PASSWORD
            respond = smtp.auth_plain if mechanism == "PLAIN" else smtp.auth_login
            assert smtp.auth(mechanism, respond, initial_response_ok=False)[0] == 235
            if mechanism == "PLAIN":
                assert smtp.sendmail(USER, [recipient("login-plain")], PLAIN_TEXT) == {}


def implicit_tls():
    with smtplib.SMTP_SSL(HOST, port("SUBMISSIONS"), "client.example", timeout=30, context=context()) as smtp:
        assert smtp.login(USER, PASSWORD)[0] == 235
        assert smtp.sendmail(USER, [recipient("implicit")], PLAIN_TEXT) == {}


def lmtp():
    with smtplib.LMTP(HOST, port("LMTP"), "client.example") as session:
        assert session.sendmail(USER, [recipient("lmtp")], PLAIN_TEXT) == {}


for case in (
    features,
    eight_bit,
    internationalised,
    size,
    refusals,
    dsn,
    chunks,
    priority_and_deadline,
    held_and_required,
    starttls,
    login,
    login_without_initial_response,
    implicit_tls,
    lmtp,
):
    print(case.__name__, flush=True)
    case()
