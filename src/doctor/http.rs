//! Sends one request to a web server.
//!
//! Time and size are bounded. Redirects are not followed, because the target of a redirect is an answer in itself. Certificates are
//! checked against the machine's own list, as Nix does it.
//!
//! `network` interprets the answer.

use std::time::Duration;

/// Longest time for one question to a server.
const DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const BYTES_MAX: u64 = 256 << 10;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// Where it sends to.
    pub location: Option<String>,
    /// Its own clock, as it says it.
    pub date: Option<String>,
    /// The beginning of the body.
    pub body: String,
}

/// Asks for a URL; the error is in words.
pub(super) async fn get(url: &str) -> Result<Answer, String> {
    let url = url.to_owned();
    let asked = tokio::task::spawn_blocking(move || get_now(&url)).await;
    asked.unwrap_or_else(|_| Err("asking failed".to_owned()))
}

fn get_now(url: &str) -> Result<Answer, String> {
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::PlatformVerifier)
        .build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .into();
    let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
    let header = |name: &str| {
        let value = answer.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (location, date) = (header("location"), header("date"));
    let status = answer.status().as_u16();
    let mut bytes = Vec::new();
    let body = answer.body_mut().as_reader();
    std::io::Read::take(body, BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("the answer ended early: {}", crate::os_error::said(&e)))?;
    Ok(Answer {
        status,
        location,
        date,
        body: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

use std::io::Read as _;

/// The parts of a URL of a web server: scheme, server (with its port), path.
pub(super) fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (server, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let server = server.rsplit('@').next().unwrap_or(server);
    (!server.is_empty()).then_some((scheme, server, path.trim_end_matches('/')))
}

/// The name of a server without its port.
pub(super) fn name_of(server: &str) -> &str {
    if let Some(rest) = server.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    server.split(':').next().unwrap_or(server)
}

/// Seconds since 1970 of a date as HTTP has it (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn date_s(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|n| n.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    Some(days_since_1970(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1 January 1970 to a date of the Gregorian calendar.
pub(super) fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may end where it stands
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), Some(0));
        assert_eq!(days_since_1970(2000, 3, 1), Some(11_017));
        assert_eq!(date_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date_s("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for bad in ["", "yesterday", "Sun, 06 Abc 1994 08:49:37 GMT"] {
            assert_eq!(date_s(bad), None);
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(
            parts("https://u:p@cache.example:8443/a/b/?priority=1"),
            Some(("https", "cache.example:8443", "/a/b"))
        );
        assert_eq!(parts("http://cache.example"), Some(("http", "cache.example", "")));
        assert_eq!(parts("s3://bucket"), None);
        assert_eq!(name_of("cache.example:8443"), "cache.example");
        assert_eq!(name_of("[::1]:80"), "::1");
    }
}
