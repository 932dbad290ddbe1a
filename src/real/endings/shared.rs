//! Sentences that several programs say with the same words: of memory, of the network (all use curl or the C library), of TLS. Law: as
//! `endings`.
//!
//! Absent: deciding.

use super::{Row, row};
use landfall_states::fault::Cause;

/// Too little memory.
pub const MEMORY: &[Row] = &[row(
    Cause::Memory,
    &[
        "out of memory",
        "cannot allocate memory",
        "std::bad_alloc",
        "too many heap sections",
        "virtual memory exhausted",
        "memory exhausted",
        "failed to expand heap",
        "not enough available memory",
    ],
)];

/// Certificates, and who stands between.
pub const TLS: &[Row] = &[
    row(
        Cause::Clock,
        &[
            "certificate is not yet valid",
            "certificate has expired",
            "certificate expired",
            "not yet activated",
            "expired certificate",
        ],
    ),
    row(
        Cause::CaFile,
        &[
            "problem with the ssl ca cert",
            "error setting certificate*",
            "error adding trust anchors",
        ],
    ),
    row(
        Cause::TlsName,
        &[
            "does not match target host",
            "no alternative certificate subject name matches",
            "hostname mismatch",
        ],
    ),
    row(
        Cause::TlsIssuer,
        &[
            "self-signed certificate",
            "self signed certificate",
            "unable to get local issuer certificate",
            "unable to get issuer certificate",
            "certificate signer not trusted",
            "unable to verify the first certificate",
            "issuer is unknown",
        ],
    ),
    row(
        Cause::TlsUnclear,
        &[
            "server certificate verification failed",
            "ssl certificate problem",
            "server verification failed",
            "certificate verify failed",
            "ssl peer certificate or ssh remote key was not ok",
        ],
    ),
];

/// Proxies that want a login.
pub const PROXY: &[Row] = &[row(
    Cause::ProxyLogin,
    &[
        "response 407",
        "returned error: 407",
        "http error 407",
        "http code 407 from proxy",
        "proxy authentication required",
    ],
)];

/// The network.
pub const NETWORK: &[Row] = &[
    row(
        Cause::Throttled,
        &["returned error: 429", "http error 429", "too many requests"],
    ),
    row(
        Cause::ServerError,
        &[
            "returned error: 5",
            "http error 5",
            "internal server error",
            "bad gateway",
        ],
    ),
    row(
        Cause::Network,
        &[
            "could not resolve host",
            "couldn't resolve host",
            "could not resolve proxy",
            "couldn't resolve proxy",
            "temporary failure in name resolution",
            "name or service not known",
            "unable to look up",
            "connection refused",
            "connection reset",
            "connection timed out",
            "connection closed",
            "failed to connect",
            "unable to connect",
            "network is unreachable",
            "no route to host",
            "early eof",
            "unexpected disconnect",
            "the remote end hung up",
            "unexpected end-of-file",
            "unexpected eof",
            "operation too slow",
            "operation timed out",
            "timed out after",
            "connection*timed out",
            "timeout was reached",
            "timeout, server * not responding",
            "broken pipe",
            "rpc failed",
            "invalid index-pack output",
            "index-pack failed",
            "index-pack died",
            "transferred a partial file",
            "transfer closed",
            "empty reply from server",
            "server returned nothing",
            "recv failure",
            "send failure",
            "failure when receiving data from the peer",
            "ssl_error_syscall",
            "ssl_connect",
            "ssl connect error",
            "tls connection was non-properly terminated",
            "gnutls_handshake",
            "http/2 stream",
            "could not connect to server",
            "couldn't connect to server",
            "stream was not closed cleanly",
            "expected flush after",
            "bad band",
            "protocol error: bad line length",
        ],
    ),
];
