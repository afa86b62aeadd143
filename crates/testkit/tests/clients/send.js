// Sends mail with nodemailer: one message at a time and from a pool. What the server says is checked here; whoever starts
// the script looks at what arrives. Everything it needs is in its environment.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const nodemailer = require("nodemailer");

const { USER_NAME: user, PASSWORD: pass } = process.env;
const ca = fs.readFileSync(process.env.CA_FILE);

function transport(listener, options) {
  const port = Number(process.env[`${listener}_PORT`]);
  return nodemailer.createTransport({ host: "127.0.0.1", port, name: "client.example", tls: { ca }, ...options });
}

function message(to) {
  return {
    from: `"Jürgen, by nodemailer" <${user}>`,
    to,
    subject: "Grüße von nodemailer",
    text: ".dot\nend\n",
    html: "<p>Grüße</p>",
    attachments: [{ filename: "octets.bin", content: Buffer.from(Array.from({ length: 256 }, (_, octet) => octet)) }],
  };
}

async function sent(mailer, to) {
  const info = await mailer.sendMail(message(to));
  assert.deepStrictEqual(info.accepted, [to]);
  assert.match(info.response, /^250 2\.6\.0 Queued as /);
}

async function main() {
  // With what the server offers: STARTTLS is used where it is.
  const plain = transport("SMTP", {});
  await sent(plain, "nodemailer-plain@sink.example");

  const lmtp = transport("LMTP", { lmtp: true, ignoreTLS: true });
  await sent(lmtp, "nodemailer-lmtp@sink.example");

  const submission = transport("SUBMISSION", { requireTLS: true, auth: { user, pass } });
  assert.strictEqual(await submission.verify(), true);
  await sent(submission, "nodemailer-starttls@sink.example");
  await sent(submission, "用户-nodemailer@sink.example");

  const wrong = transport("SUBMISSION", { requireTLS: true, auth: { user, pass: "wrong horse" } });
  await assert.rejects(wrong.verify(), { code: "EAUTH", responseCode: 535 });

  const pool = transport("SUBMISSIONS", { secure: true, pool: true, maxConnections: 3, maxMessages: 7, auth: { user, pass } });
  await Promise.all(Array.from({ length: 30 }, () => sent(pool, "nodemailer-pool@sink.example")));
  pool.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
