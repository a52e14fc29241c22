//! Which destinations are plaintext ones, so that the exit could read what is
//! sent there. What is done about them is the setting
//! [`Plaintext`](crate::config::Plaintext), applied in `listener`. Pure.

/// Ports whose usual protocol is not encrypted.
///
/// From the IANA registry: ftp, telnet, smtp, http, pop3, nntp, imap, irc,
/// rlogin, ldap, http-alt (twice). Ports where encryption is customary after
/// a STARTTLS (587) are not in it.
const PLAINTEXT_PORTS: [u16; 12] = [21, 23, 25, 80, 110, 119, 143, 194, 389, 513, 8000, 8080];

/// Whether what goes to `port` is usually readable by whoever carries it.
pub(super) fn is_plaintext_port(port: u16) -> bool {
    PLAINTEXT_PORTS.contains(&port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_ports() {
        assert!(is_plaintext_port(80) && is_plaintext_port(25));
        assert!(!is_plaintext_port(443) && !is_plaintext_port(22) && !is_plaintext_port(993));
    }
}
