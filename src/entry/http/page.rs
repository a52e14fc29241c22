//! The pages that a client gets when there is no answer from a server: short,
//! as HTML for browsers and as text for programs, with the reason in
//! `Proxy-Status` (RFC 9209) for both.

use std::fmt::Write as _;

use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::Problem;
use super::forward::Body;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// How a client wants its pages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    html: bool,
}

impl Page {
    /// Looks at what the client accepts.
    pub(super) fn for_request<B>(request: &Request<B>) -> Self {
        let html = request
            .headers()
            .get_all(ACCEPT)
            .iter()
            .any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")));
        Self { html }
    }

    /// The page for `problem`.
    pub(super) fn write(self, problem: &Problem) -> Response<Body> {
        let (status, error, sentence, detail) = match problem {
            Problem::Request(status, sentence) => (*status, "http_request_error", *sentence, None),
            Problem::Flow(failure) => {
                let wording = failure.wording();
                (
                    wording.http,
                    wording.proxy_status,
                    wording.sentence,
                    failure.detail(),
                )
            }
            Problem::Server(sentence) => (
                StatusCode::BAD_GATEWAY,
                "http_response_incomplete",
                *sentence,
                None,
            ),
        };
        let text = self.text(status, sentence, detail.as_deref());
        let kind = if self.html {
            "text/html; charset=utf-8"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut response = Response::new(Body::page(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, proxy_status(error, detail.as_deref()));
        response
    }

    fn text(self, status: StatusCode, sentence: &str, detail: Option<&str>) -> String {
        let reason = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        if !self.html {
            return match detail {
                Some(detail) => format!("masq: {code} {reason}\n{sentence}\n{detail}\n"),
                None => format!("masq: {code} {reason}\n{sentence}\n"),
            };
        }
        let mut page = format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{code} {reason}</title>\n\
             <style>body{{font:16px/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em}}\
             </style>\n<h1>{reason}</h1>\n<p>{}</p>\n",
            escape(sentence)
        );
        if let Some(detail) = detail {
            // Writing to a string does not fail.
            let _ = writeln!(page, "<p>{}</p>", escape(detail));
        }
        page.push_str("<p><small>This page comes from your masq node.</small></p>\n");
        page
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

/// The header, as a structured field: the detail may hold only printable
/// ASCII, with two characters escaped (RFC 9651 section 3.3.3).
fn proxy_status(error: &str, detail: Option<&str>) -> HeaderValue {
    let mut value = format!("masq; error={error}");
    if let Some(detail) = detail {
        value.push_str("; details=\"");
        for c in detail.chars().filter(|c| matches!(c, ' '..='~')) {
            if matches!(c, '"' | '\\') {
                value.push('\\');
            }
            value.push(c);
        }
        value.push('"');
    }
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("masq"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::OpenError;
    use crate::entry::failure::Failure;

    fn problem(reason: &str) -> Problem {
        Problem::Flow(Failure::from(OpenError::NoRoute {
            reason: reason.into(),
        }))
    }

    #[test]
    fn s17_the_page_has_the_reason_for_people_and_programs() {
        let response = Page { html: false }.write(&problem("no \"exit\" in reach"));
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "masq; error=destination_unavailable; details=\"no \\\"exit\\\" in reach\""
        );
        assert_eq!(
            response.headers()[CONTENT_TYPE],
            "text/plain; charset=utf-8"
        );
    }

    #[test]
    fn html_is_for_those_who_accept_it_and_is_escaped() {
        let request = Request::builder()
            .header(ACCEPT, "text/html,*/*;q=0.8")
            .body(())
            .unwrap();
        let page = Page::for_request(&request);
        let text = page.text(StatusCode::BAD_GATEWAY, "a", Some("<script>&\""));
        assert!(text.contains("&lt;script&gt;&amp;&quot;") && !text.contains("<script>"));
        assert!(!Page::for_request(&Request::new(())).html);
    }
}
