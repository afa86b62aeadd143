//! Postfix: two listeners, one of which offers neither 8BITMIME nor CHUNKING.

use super::content::message;
use super::remote::{Offers, Remote};
use super::sandbox::{DROP, READER, SERVER, Sandbox, Server};
use super::submission::Submission;
use super::{Places, World};

const DOMAIN: &str = "postfix.test";

#[test]
fn postfix_has_what_was_sent() {
    let Some(world) = World::shared() else { return };
    let server = start(&world.places);
    let notifications = &["mta: dns; postfix.test", "action: delivered", "envelope-7", "first@alias.test"];
    let offers = Offers { one_go: true, smtputf8: true, notifications };
    let remote = Remote { world: &world, server: &server, domain: DOMAIN, offers };
    remote.has_all();
    remote.has_contents(world.without_chunking(), DOMAIN, "> DATA");
    remote.has_text_by_starttls("(using TLSv1.3 with cipher");
    remote.has_converted_text("bare.postfix.test");
    hears_where_mail_came_from(&remote);
}

/// With XFORWARD Postfix knows the client that we had each message from, its protocol and its HELO.
fn hears_where_mail_came_from(remote: &Remote<'_>) {
    for (subject, address) in [("origin-7", "192.0.2.7"), ("origin-8", "192.0.2.8")] {
        let submission = Submission {
            mail: "<sender@postfix.test>",
            recipients: &["<reader@origin.postfix.test>"],
            content: &message(subject, "", b""),
            client: Some(&format!("ADDR={address} NAME=[UNAVAILABLE]")),
        };
        submission.send(remote.world.chunking.smtp());
        remote.only(&[&format!("\nSubject: {subject}\n")]);
        let told = format!(
            "header Subject: {subject} from unknown[{address}]; from=<sender@postfix.test> \
             to=<reader@origin.postfix.test> proto=ESMTP helo=<client.example>"
        );
        let log = remote.server.log();
        assert!(log.contains(&told), "{told} is not in\n{log}");
    }
}

pub(super) fn start(places: &Places) -> Server {
    let sandbox = Sandbox::new("postfix");
    sandbox.folder("var/lib/postfix", SERVER, 0, 0o755);
    sandbox.folder("var/spool/postfix", 0, 0, 0o755);
    for private in
        ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"]
    {
        sandbox.folder(&format!("var/spool/postfix/{private}"), SERVER, 0, 0o700);
    }
    for (name, user, group, mode) in
        [("pid", 0, 0, 0o755), ("public", SERVER, DROP, 0o710), ("maildrop", SERVER, DROP, 0o730)]
    {
        sandbox.folder(&format!("var/spool/postfix/{name}"), user, group, mode);
    }
    sandbox.write("etc/postfix/main.cf", &main_cf(&sandbox));
    sandbox.write("etc/postfix/master.cf", &master_cf(places));
    sandbox.start(&["/usr/lib/postfix/sbin/master", "-d"], places.postfix)
}

fn main_cf(sandbox: &Sandbox) -> String {
    let path = |name: &str| sandbox.path(name).display().to_string();
    format!(
        "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = drop\ndefault_privs = nobody\n\
         maillog_file = /var/log/mail.log\nmyhostname = {DOMAIN}\nmydestination =\nmynetworks =\nlocal_header_rewrite_clients =\n\
         alias_maps =\nalias_database =\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         smtpd_recipient_restrictions = reject_unauth_destination\n\
         virtual_mailbox_domains = regexp:{{ {{/^(.*\\.)?(postfix|signed|plain)\\.test$$/ ours}} }}\n\
         virtual_mailbox_maps = regexp:{{ {{!/^unknown@/ all/}} }}\n\
         virtual_mailbox_base = {}\nvirtual_uid_maps = static:{READER}\nvirtual_gid_maps = static:{READER}\n\
         virtual_mailbox_limit = 0\nmessage_size_limit = 52428800\n\
         smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}, {}\nsmtpd_tls_received_header = yes\n\
         smtpd_authorized_xforward_hosts = 127.0.0.0/8\nheader_checks = regexp:{{ {{/^Subject: origin/ WARN}} }}\n",
        path("mail"),
        path("etc/key.pem"),
        path("etc/certificate.pem"),
    )
}

fn master_cf(places: &Places) -> String {
    format!(
        "{} inet n - n - - smtpd\n\
         {} inet n - n - - smtpd -o smtpd_discard_ehlo_keywords=8bitmime,chunking\n\
         cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
         proxymap unix - - n - - proxymap\nvirtual unix - n n - - virtual\ntlsmgr unix - - n 1000? 1 tlsmgr\n\
         anvil unix - - n - 1 anvil\nerror unix - - n - - error\nretry unix - - n - - error\npostlog unix-dgram n - n - 1 postlogd\n",
        places.postfix, places.bare_postfix,
    )
}
