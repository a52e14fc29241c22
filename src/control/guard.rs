//! What stands before every route: the `Host` check against DNS rebinding, the
//! token, and the shape of errors.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{api::NodeApiError, server::Shared, types::ErrorBody};

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: &str) -> Self {
        Self {
            status,
            body: ErrorBody {
                error: error.into(),
                hint: (!hint.is_empty()).then(|| hint.to_owned()),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<NodeApiError> for ApiError {
    fn from(error: NodeApiError) -> Self {
        let text = sentence(&error.to_string());
        match error {
            NodeApiError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, text, ""),
            NodeApiError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                text,
                "Try again in a moment.",
            ),
            NodeApiError::SwitchedOff { hint, .. } => Self::new(StatusCode::NOT_FOUND, text, &hint),
            NodeApiError::Refused { hint, .. } => Self::new(StatusCode::BAD_REQUEST, text, &hint),
        }
    }
}

/// A capital in front and a full stop behind, unless there is one.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let mut out: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    out.push_str(letters.as_str());
    if !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

/// Refuses requests whose `Host` names anything but an address or `localhost`.
///
/// A page on `evil.example` whose name is pointed at 127.0.0.1 counts as "same
/// origin" for a browser, and sends `Host: evil.example`.
pub(super) async fn host(request: Request, next: Next) -> Response {
    if host_is_local(request.headers()) {
        next.run(request).await
    } else {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "The Host header must name an address.",
            "Use the address from control.json, such as http://127.0.0.1:PORT.",
        )
        .into_response()
    }
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Authority>().ok())
    else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Refuses requests without the token.
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    if bears_token(request.headers(), shared.token.as_bytes()) {
        next.run(request).await
    } else {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "The token is missing or wrong.",
            "Send `Authorization: Bearer` and the content of control.token in the data folder.",
        )
        .into_response()
    }
}

fn bears_token(headers: &HeaderMap, token: &[u8]) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, given)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    // The length of the token is no secret; its content is compared in
    // constant time.
    scheme.eq_ignore_ascii_case("bearer") && bool::from(given.trim().as_bytes().ct_eq(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1:7",
            "127.0.0.1",
            "localhost:80",
            "[::1]:7",
            "192.0.2.1:9",
        ] {
            assert!(host_is_local(&headers(&[(header::HOST, good)])), "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example:7",
            "",
            "a b",
            "localhost.evil.example",
        ] {
            assert!(!host_is_local(&headers(&[(header::HOST, bad)])), "{bad}");
        }
        assert!(!host_is_local(&headers(&[])));
        let twice = [(header::HOST, "127.0.0.1"), (header::HOST, "evil.example")];
        assert!(!host_is_local(&headers(&twice)));
    }

    #[test]
    fn tokens() {
        let of = |value: &str| bears_token(&headers(&[(header::AUTHORIZATION, value)]), b"secret");
        assert!(of("Bearer secret"));
        assert!(of("bearer secret"));
        for bad in [
            "Bearer Secret",
            "Bearer",
            "Bearer ",
            "Basic secret",
            "secret",
            "Bearer secretx",
        ] {
            assert!(!of(bad), "{bad}");
        }
        assert!(!bears_token(&headers(&[]), b"secret"));
    }

    #[test]
    fn sentences() {
        assert_eq!(sentence("the node is stopping"), "The node is stopping.");
        assert_eq!(sentence("Off."), "Off.");
        assert_eq!(sentence(""), ".");
    }
}
