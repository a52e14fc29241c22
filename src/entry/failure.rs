//! The one table of what can go wrong, in each client's own language: SOCKS
//! reply codes (RFC 1928), HTTP status and `Proxy-Status` error types
//! (RFC 9209), and a sentence for people. Pure.

use hyper::StatusCode;
use masq_cores::flow::FlowStatus;
use tor_socksproto::SocksStatus;

use super::OpenError;

/// Longest text of an exit that is shown to a client, in characters. Flow
/// replies carry at most 256 bytes; this is for texts from elsewhere.
const MAX_DETAIL: usize = 256;

/// Why a client does not get what it asked for.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The mesh did not open the flow.
    Open(OpenError),
    /// `plaintext = "refuse"` and the destination is a plaintext one.
    Plaintext { port: u16 },
}

/// A failure in each language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wording {
    pub(super) socks: SocksStatus,
    pub(super) http: StatusCode,
    /// Error type of the `Proxy-Status` header.
    pub(super) proxy_status: &'static str,
    pub(super) sentence: &'static str,
}

const fn wording(
    socks: SocksStatus,
    http: StatusCode,
    proxy_status: &'static str,
    sentence: &'static str,
) -> Wording {
    Wording {
        socks,
        http,
        proxy_status,
        sentence,
    }
}

impl Failure {
    /// How this failure is told.
    pub(super) fn wording(&self) -> Wording {
        match self {
            Self::Open(error) => open_wording(error),
            Self::Plaintext { .. } => wording(
                SocksStatus::NOT_ALLOWED,
                StatusCode::FORBIDDEN,
                "http_request_denied",
                "This node refuses destinations without encryption, because the exit could read \
                 what is sent there. Use https, or set plaintext = \"flag\" or \"allow\".",
            ),
        }
    }

    /// What more there is to say, cleaned: the reason for a missing route, or
    /// the exit's words.
    pub(super) fn detail(&self) -> Option<String> {
        let text = match self {
            Self::Open(OpenError::NoRoute { reason }) => reason,
            Self::Open(OpenError::Status { detail, .. }) => detail,
            Self::Plaintext { port } => return Some(format!("The destination is port {port}.")),
            Self::Open(_) => return None,
        };
        let clean: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_DETAIL)
            .collect();
        let clean = clean.trim();
        (!clean.is_empty()).then(|| clean.to_owned())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

fn open_wording(error: &OpenError) -> Wording {
    use SocksStatus as S;
    match error {
        OpenError::NoRoute { .. } => wording(
            S::GENERAL_FAILURE,
            StatusCode::SERVICE_UNAVAILABLE,
            "destination_unavailable",
            "There is no route through the mesh at the moment.",
        ),
        OpenError::Status { status, .. } => status_wording(*status),
        OpenError::CircuitLost => wording(
            S::GENERAL_FAILURE,
            StatusCode::BAD_GATEWAY,
            "connection_terminated",
            "The circuit broke before the exit answered.",
        ),
        OpenError::Timeout => wording(
            S::TTL_EXPIRED,
            StatusCode::GATEWAY_TIMEOUT,
            "connection_timeout",
            "The exit did not answer in time.",
        ),
        OpenError::ShuttingDown => wording(
            S::GENERAL_FAILURE,
            StatusCode::SERVICE_UNAVAILABLE,
            "proxy_internal_error",
            "This node is shutting down.",
        ),
    }
}

fn status_wording(status: FlowStatus) -> Wording {
    use SocksStatus as S;
    const BAD: StatusCode = StatusCode::BAD_GATEWAY;
    match status {
        FlowStatus::NameNotFound => wording(
            S::HOST_UNREACHABLE,
            BAD,
            "dns_error",
            "The name does not exist.",
        ),
        FlowStatus::NameServerFailed => wording(
            S::HOST_UNREACHABLE,
            BAD,
            "dns_error",
            "The exit's name servers gave no answer for this name.",
        ),
        FlowStatus::ConnectionRefused => wording(
            S::CONNECTION_REFUSED,
            BAD,
            "connection_refused",
            "The server refused the connection.",
        ),
        FlowStatus::HostUnreachable => wording(
            S::HOST_UNREACHABLE,
            BAD,
            "destination_ip_unroutable",
            "The server cannot be reached from the exit.",
        ),
        FlowStatus::NetworkUnreachable => wording(
            S::NETWORK_UNREACHABLE,
            BAD,
            "destination_ip_unroutable",
            "The server's network cannot be reached from the exit.",
        ),
        FlowStatus::TimedOut => wording(
            S::TTL_EXPIRED,
            StatusCode::GATEWAY_TIMEOUT,
            "connection_timeout",
            "The server did not answer in time.",
        ),
        FlowStatus::PolicyRefused => wording(
            S::NOT_ALLOWED,
            StatusCode::FORBIDDEN,
            "destination_ip_prohibited",
            "The exit's policy does not allow this destination.",
        ),
        FlowStatus::PlaintextRefused => wording(
            S::NOT_ALLOWED,
            StatusCode::FORBIDDEN,
            "http_request_denied",
            "The exit refuses destinations without encryption.",
        ),
        FlowStatus::Unsupported => wording(
            S::COMMAND_NOT_SUPPORTED,
            StatusCode::NOT_IMPLEMENTED,
            "proxy_internal_response",
            "The exit does not offer this.",
        ),
        FlowStatus::Overloaded => wording(
            S::GENERAL_FAILURE,
            StatusCode::SERVICE_UNAVAILABLE,
            "connection_limit_reached",
            "The exit has no room for more connections.",
        ),
        _ => wording(
            S::GENERAL_FAILURE,
            BAD,
            "proxy_internal_error",
            "Something failed at the exit.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socks(status: FlowStatus) -> SocksStatus {
        status_wording(status).socks
    }

    #[test]
    fn s16_each_failure_has_its_own_code() {
        assert_eq!(
            socks(FlowStatus::NameNotFound),
            SocksStatus::HOST_UNREACHABLE
        );
        assert_eq!(
            socks(FlowStatus::ConnectionRefused),
            SocksStatus::CONNECTION_REFUSED
        );
        assert_eq!(
            socks(FlowStatus::NetworkUnreachable),
            SocksStatus::NETWORK_UNREACHABLE
        );
        assert_eq!(socks(FlowStatus::PolicyRefused), SocksStatus::NOT_ALLOWED);
        assert_eq!(socks(FlowStatus::TimedOut), SocksStatus::TTL_EXPIRED);
        assert_eq!(
            socks(FlowStatus::Unsupported),
            SocksStatus::COMMAND_NOT_SUPPORTED
        );
        assert_eq!(socks(FlowStatus::Overloaded), SocksStatus::GENERAL_FAILURE);
        assert_eq!(
            status_wording(FlowStatus::PolicyRefused).http,
            StatusCode::FORBIDDEN
        );
        assert_eq!(
            status_wording(FlowStatus::TimedOut).http,
            StatusCode::GATEWAY_TIMEOUT
        );
        assert_eq!(
            status_wording(FlowStatus::NameNotFound).http,
            StatusCode::BAD_GATEWAY
        );
    }

    #[test]
    fn s17_no_route_is_503_and_keeps_its_reason() {
        let failure = Failure::from(OpenError::NoRoute {
            reason: "no exit in reach".into(),
        });
        assert_eq!(failure.wording().http, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failure.detail().unwrap(), "no exit in reach");
    }

    #[test]
    fn an_exits_words_are_cleaned() {
        let detail = format!("\x1b[31mred\r\nX-Evil: 1{}", "x".repeat(400));
        let failure = Failure::from(OpenError::Status {
            status: FlowStatus::Internal,
            detail,
        });
        let shown = failure.detail().unwrap();
        assert!(shown.starts_with("[31mred  X-Evil: 1x"));
        assert!(shown.len() <= MAX_DETAIL && !shown.chars().any(char::is_control));
    }
}
