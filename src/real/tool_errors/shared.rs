//! What curl says about a transfer, which both Git and Nix quote in sentences of their own; and the sentence for too many
//! open files, which all programs share.
//!
//! By the rules of `tool_errors`. Of a transfer, only curl's part is passed in.
//!
//! `tool_errors::git` and `tool_errors::nix` have the sentences around it.

use super::{Row, first_row, row};
use landfall_states::fault::Cause;

/// This machine has too many files open.
pub(super) const FILES: &[Row] = &[row(
    Cause::Busy,
    &[
        "fatal: *: too many open files",
        "error: *: too many open files",
        "warning: *: too many open files",
        "fatal: *: too many open files in system",
        "error: *: too many open files in system",
        "warning: *: too many open files in system",
        "~: error while loading shared libraries: ~: cannot open shared object file: error 24",
        "~: error while loading shared libraries: ~: cannot open shared object file: too many open files",
    ],
)];

/// Certificates, and who stands between.
const TLS: &[Row] = &[
    row(
        Cause::Clock,
        &[
            "ssl certificate problem: certificate is not yet valid*",
            "ssl certificate problem: certificate has expired*",
            "server verification failed: certificate expired*",
            "server verification failed: certificate has expired*",
            "server verification failed: certificate not activated*",
            "server verification failed: certificate not yet activated*",
            "server certificate expiration date has passed*",
            "server certificate not activated yet*",
            "server certificate not yet activated*",
            "server certificate verification failed: certificate has expired*",
        ],
    ),
    row(
        Cause::CaFile,
        &[
            "problem with the ssl ca cert*",
            "error setting certificate *",
            "error adding trust anchors*",
            "error reading ca cert file *",
        ],
    ),
    row(
        Cause::TlsName,
        &[
            "ssl: certificate subject name (*) does not match target *",
            "ssl: no alternative certificate subject name matches target *",
            "ssl: unable to obtain common name from peer certificate*",
            "ssl certificate problem: hostname mismatch*",
        ],
    ),
    row(
        Cause::TlsIssuer,
        &[
            "ssl certificate problem: self-signed certificate*",
            "ssl certificate problem: self signed certificate*",
            "ssl certificate problem: unable to get local issuer certificate*",
            "ssl certificate problem: unable to get issuer certificate*",
            "ssl certificate problem: unable to verify the first certificate*",
            "server verification failed: certificate signer not trusted*",
            "server verification failed: certificate signer not found*",
            "server verification failed: the certificate issuer is unknown*",
            "server verification failed: issuer is unknown*",
        ],
    ),
    row(
        Cause::TlsUnclear,
        &[
            "server certificate verification failed*",
            "server verification failed*",
            "ssl certificate problem: *",
            "ssl peer certificate or ssh remote key was not ok*",
            "peer certificate cannot be authenticated with given ca certificates*",
            "cert verify failed*",
        ],
    ),
];

/// Proxies that want a login, or refuse an address.
const PROXY: &[Row] = &[
    row(
        Cause::ProxyLogin,
        &[
            "connect tunnel failed, response 407*",
            "received http code 407 from proxy after connect*",
            "the requested url returned error: 407*",
            "http error 407*",
        ],
    ),
    row(
        // Too many at once, as of any server.
        Cause::Throttled,
        &[
            "connect tunnel failed, response 429*",
            "received http code 429 from proxy after connect*",
        ],
    ),
    row(
        Cause::ProxyRefuses,
        &[
            "connect tunnel failed, response 4*",
            "received http code 4* from proxy after connect*",
        ],
    ),
];

/// Answers of a server.
const ANSWERS: &[Row] = &[
    row(
        // 511 is Network Authentication Required (RFC 6585, 6). Who sends from one address to the next without end has none to send to.
        Cause::CaptivePortal,
        &[
            "the requested url returned error: 511*",
            "http error 511*",
            "the redirect target url could not be parsed*",
            "maximum (~) redirects followed*",
            "number of redirects hit maximum amount*",
        ],
    ),
    row(
        Cause::Throttled,
        &["the requested url returned error: 429*", "http error 429*"],
    ),
    row(
        Cause::ServerError,
        &["the requested url returned error: 5*", "http error 5*"],
    ),
];

/// Ways.
const WAYS: &[Row] = &[row(
    Cause::Network,
    &[
        // The other side gave up waiting (408), or wants the same again later (425).
        "the requested url returned error: 408*",
        "http error 408*",
        "the requested url returned error: 425*",
        "http error 425*",
        // Between here and there somebody changes what is sent.
        "error while processing content unencoding*",
        "unrecognized or bad http content or transfer-encoding*",
        "unrecognized content encoding type*",
        "could not resolve host*",
        "couldn't resolve host*",
        "could not resolve proxy*",
        "couldn't resolve proxy*",
        "resolving timed out after *",
        "failed to connect to *",
        "could not connect to server*",
        "couldn't connect to server*",
        "connection refused*",
        "connection reset by peer*",
        "connection timed out after *",
        "connection timeout after *",
        "connection was reset*",
        "connection died*",
        "network is unreachable*",
        "no route to host*",
        "operation too slow*",
        "operation timed out*",
        "timeout was reached*",
        "time-out*",
        "transferred a partial file*",
        "transfer closed with *",
        "end of response with *",
        "empty reply from server*",
        "server returned nothing*",
        "recv failure: *",
        "send failure: *",
        "failure when receiving data from the peer*",
        "failed receiving data from the peer*",
        "failed sending data to the peer*",
        "failed receiving http2 data*",
        "ssl connect error*",
        "ssl_error_syscall*",
        "openssl ssl_*",
        "openssl/*",
        "ssl_connect*",
        "ssl_read*",
        "tls connect error*",
        "gnutls_handshake() failed: *",
        "gnutls recv error *",
        "gnutls, handshake failed: *",
        "gnutls: *",
        "http/2 stream *",
        "http/2 framing layer*",
        "error in the http2 framing layer*",
        "stream error in the http/2 framing layer*",
        "http/3 *",
        "proxy connect aborted*",
        "connect tunnel failed, response 5*",
        "received http code 5*",
        "unsupported http*",
        "received http/0.9 when not allowed*",
        "weird server reply*",
        "chunk hex-length char not a hex digit*",
        "illegal or missing hexadecimal sequence*",
        "malformed encoding found in chunked-encoding*",
        "too long hexadecimal number*",
        "leftovers after chunking*",
        "failed reading the chunked-encoded stream*",
        "http error 200 (curl error: *",
        "http error 206 (curl error: *",
        "http error 0 (curl error: *",
    ],
)];

/// What curl says, and, where it says more behind the number of its error, that first: `Couldn't resolve host name (6) Could not resolve…`.
fn parts(said: &str) -> Vec<&str> {
    let number = said.match_indices(" (").find_map(|(at, _)| {
        let (code, more) = said[at + 2..].split_once(')')?;
        (!code.is_empty() && code.bytes().all(|c| c.is_ascii_digit())).then_some(more.trim())
    });
    number.into_iter().chain([said]).collect()
}

/// What of a transfer needs a change here: certificates and proxies.
pub(crate) fn tls_or_proxy(said: &str) -> Option<Cause> {
    parts(said)
        .iter()
        .find_map(|part| first_row(&[PROXY, TLS], &[part]))
        .map(|(cause, _)| cause)
}

/// What became of a transfer.
pub(crate) fn transfer(said: &str) -> Option<Cause> {
    tls_or_proxy(said).or_else(|| {
        parts(said)
            .iter()
            .find_map(|part| first_row(&[ANSWERS, WAYS], &[part]))
            .map(|(cause, _)| cause)
    })
}

/// What stands behind `begin 'ADDRESS': `. An address may hold anything, also the same signs: the last ones end it.
pub(crate) fn behind_address<'l>(line: &'l str, begin: &str) -> Option<&'l str> {
    let (_, said) = line.strip_prefix(begin)?.rsplit_once("': ")?;
    Some(said)
}
