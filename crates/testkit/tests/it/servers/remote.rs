//! What is asked of every server: that it has what was sent, over each way that leads to it. Not responsible for how a server
//! is configured.

use std::time::Instant;

use mailtier_testkit::installation::{Installation, pause};

use super::content::{contents, ended, from_quoted_printable, large, message, text};
use super::maildir::{as_sent, wait_for};
use super::sandbox::Server;
use super::submission::Submission;
use super::{LIMIT, World};

/// What a server offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offers {
    /// CHUNKING and PIPELINING over SMTP: small messages go in one piece with their envelope.
    pub(super) one_go: bool,
    pub(super) smtputf8: bool,
    /// DSN: what stands in its notifications of a delivery; nothing where it offers none.
    pub(super) notifications: &'static [&'static str],
}

/// A running server as it is seen from Mailtier.
pub(super) struct Remote<'a> {
    pub(super) world: &'a World,
    pub(super) server: &'a Server,
    pub(super) domain: &'static str,
    pub(super) offers: Offers,
}

impl Remote<'_> {
    /// Everything that is expected of a server that takes mail for `reader`, `second` and `sender` at its domain and all below
    /// it, and for nobody called `unknown`.
    pub(super) fn has_all(&self) {
        let carried = if self.offers.one_go { "> BDAT " } else { "> DATA" };
        self.has_contents(&self.world.chunking, self.domain, carried);
        self.has_large();
        self.tells_why_nobody_takes_it();
        self.tells_unknown_recipients();
        self.has_internationalised();
        self.is_asked_for_notifications();
    }

    /// Each content, as it was sent, over the way to this domain; `carried` stands in what was said.
    pub(super) fn has_contents(&self, installation: &Installation, domain: &str, carried: &str) {
        let recipient = format!("<reader@{domain}>");
        let contents = contents();
        let ids =
            contents.iter().map(|(_, content)| self.send(installation, &[&recipient], content)).collect::<Vec<_>>();
        for ((subject, content), id) in contents.iter().zip(&ids) {
            let is_proper = content.ends_with(b"\r\n");
            let told = self.wait_for_trace(installation, id, &["delivered"]);
            let kept = self.only(&[&format!("Subject: {subject}\n"), id]);
            assert_same(&kept, &ended(content), domain);
            // What has no end of its own gets one with DATA.
            let carried = if is_proper { carried } else { "> DATA" };
            assert!(told.contains(carried), "{subject} without {carried}:\n{told}");
        }
    }

    fn has_large(&self) {
        let content = large();
        let id = self.send(&self.world.chunking, &[&format!("<reader@{}>", self.domain)], &content);
        assert_same(&self.only(&["Subject: large\n", &id]), &content, self.domain);
    }

    /// Nobody takes it: the reason is that of RCPT, also where the content has gone out before it was read.
    fn tells_why_nobody_takes_it(&self) {
        let recipient = format!("<unknown@{}>", self.domain);
        let id = self.send(&self.world.chunking, &[&recipient], &message("nobody", "", b"Hello.\r\n"));
        self.wait_for_trace(&self.world.chunking, &id, &["failed", "dsn=5.", "(in reply to rcpt)"]);
        self.only(&["Subject: Not delivered", &id, "answered the RCPT TO command with"]);
    }

    /// The result of each recipient is its own.
    fn tells_unknown_recipients(&self) {
        let recipients = ["reader", "unknown", "second"].map(|user| format!("<{user}@{}>", self.domain));
        let recipients = recipients.each_ref().map(String::as_str);
        let id = self.send(&self.world.chunking, &recipients, &message("several", "", b"Hello.\r\n"));
        let failed = format!("to=<unknown@{}>", self.domain);
        let told = self.wait_for_trace(&self.world.chunking, &id, &["delivered", "failed", &failed]);
        for recipient in recipients {
            let (kind, status) =
                if recipient.contains("unknown") { ("failed", "dsn=5.") } else { ("delivered", "dsn=2.") };
            let line = told.lines().find(|line| line.contains(kind) && line.contains(recipient));
            assert!(
                line.is_some_and(|line| line.contains(status)),
                "{recipient} was not {kind} with {status}:\n{told}"
            );
        }
        let returned = readable(&self.only(&["Subject: Not delivered", &id]));
        let reported = returned.matches("Final-Recipient: ").count();
        let is_right = reported == 1 && returned.contains(&format!("Final-Recipient: rfc822; unknown@{}", self.domain));
        assert!(is_right, "{returned}");
    }

    /// Addresses and a header beyond ASCII (RFC 6531), or the reason why not.
    fn has_internationalised(&self) {
        let content = &message("Grüße", "X-Kind: utf8\r\n", "Привет\r\n".as_bytes());
        let sender = if self.offers.smtputf8 { "отправитель" } else { "sender" };
        let mail = format!("<{sender}@{}> SMTPUTF8 BODY=8BITMIME", self.domain);
        let recipient = format!("<почта@{}>", self.domain);
        let submission = Submission { mail: &mail, recipients: &[&recipient], content, client: None };
        let id = submission.send(self.world.chunking.smtp());
        if self.offers.smtputf8 {
            let return_path = format!("Return-Path: <{sender}@{}>", self.domain);
            assert_same(&self.only(&["X-Kind: utf8\n", &id, &return_path]), content, self.domain);
        } else {
            self.wait_for_trace(&self.world.chunking, &id, &["failed", "5.6.7"]);
            self.only(&["Subject: Not delivered", &id, "Status: 5.6.7"]);
        }
    }

    /// What a sender wants to hear (RFC 3461) it hears from the server, or from us where the server would say nothing.
    fn is_asked_for_notifications(&self) {
        let mail = format!("<sender@{}> RET=HDRS ENVID=envelope-7", self.domain);
        let recipient = format!("<second@{}> NOTIFY=SUCCESS ORCPT=rfc822;first@alias.test", self.domain);
        let content = message("notify", "", b"Hello.\r\n");
        let submission = Submission { mail: &mail, recipients: &[&recipient], content: &content, client: None };
        let id = submission.send(self.world.chunking.smtp());
        let told = self.wait_for_trace(&self.world.chunking, &id, &["delivered"]);
        let is_offered = !self.offers.notifications.is_empty();
        for asked in [" RET=HDRS ENVID=envelope-7\n", " NOTIFY=SUCCESS ORCPT=rfc822;first@alias.test\n"] {
            assert_eq!(told.contains(asked), is_offered, "{asked}:\n{told}");
        }
        let ours = ["mx.test.example", "Action: relayed", "envelope-7", "first@alias.test"];
        let words = if is_offered { self.offers.notifications } else { &ours };
        self.only(&[words, &["message/delivery-status", &id]].concat());
    }

    /// 8-bit text over the way to `tls.` below the domain; the server's own Received field has this.
    pub(super) fn has_text_by_starttls(&self, received: &str) {
        let id = self.send(&self.world.chunking, &[&format!("<reader@tls.{}>", self.domain)], &text());
        let kept = self.only(&["Subject: text\n", &id]);
        assert_same(&kept, &text(), self.domain);
        assert!(readable(&kept).contains(received), "{received} is missing:\n{}", readable(&kept));
    }

    /// 8-bit text over a way without 8BITMIME: as quoted-printable, from which the same text comes back.
    pub(super) fn has_converted_text(&self, domain: &str) {
        let id = self.send(&self.world.chunking, &[&format!("<reader@{domain}>")], &text());
        let kept = readable(&as_sent(&self.only(&["Subject: text\n", &id])));
        assert!(kept.is_ascii() && kept.contains("Content-Transfer-Encoding: quoted-printable\r\n"), "{kept}");
        let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(from_quoted_printable(&body(&kept)), body(&readable(&text())));
    }

    fn send(&self, installation: &Installation, recipients: &[&str], content: &[u8]) -> String {
        let mail = format!("<sender@{}> BODY=8BITMIME", self.domain);
        Submission { mail: &mail, recipients, content, client: None }.send(installation.smtp())
    }

    /// The one message that has these words in its beginning.
    pub(super) fn only(&self, words: &[&str]) -> Vec<u8> {
        wait_for(&self.server.maildir(), words)
    }

    /// The history of a message with all that was said, once these words are in it.
    fn wait_for_trace(&self, installation: &Installation, id: &str, words: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let told = installation.mailtier(&["trace", "--transcript", id]).unwrap();
            if words.iter().all(|word| told.contains(word)) {
                return told;
            }
            assert!(started.elapsed() < LIMIT, "{words:?} are not in\n{told}");
            pause();
        }
    }
}

/// A kept message is the content that was sent, octet by octet.
fn assert_same(kept: &[u8], sent: &[u8], domain: &str) {
    let kept = as_sent(kept);
    let differs = kept.iter().zip(sent).position(|(kept, sent)| kept != sent).unwrap_or(kept.len().min(sent.len()));
    let there = |content: &[u8]| readable(&content[differs.saturating_sub(60)..content.len().min(differs + 60)]);
    assert!(
        kept == sent,
        "{domain} has {} octets, sent were {}; from {differs} on\n{:?} instead of\n{:?}",
        kept.len(),
        sent.len(),
        there(&kept),
        there(sent),
    );
}

fn readable(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}
