//! Both drivers on real sockets: against each other, against scripted peers, in clear and in TLS.

mod delivering;
mod peers;
mod served;
mod serving;
mod tls;
