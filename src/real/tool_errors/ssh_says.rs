//! The sentences of ssh, by the rules of `tool_errors`, as templates in lower case.
//!
//! Sources: the samples in tests/tool_errors, and OpenSSH 9.2.
//!
//! `tool_errors::git` decides which of them counts first.

use super::{Row, row};
use landfall_states::fault::Cause;

/// What ssh says of a host key that must not be trusted.
pub(super) const HOST_KEY: &[Row] = &[
    row(
        Cause::HostKeyRevoked,
        &[
            "@       warning: revoked host key detected!               @",
            "the ~ host key for ~ is marked as revoked.",
            "~ host key for ~ was revoked and you have requested strict checking.",
            "host key ~ ~ revoked by file *",
        ],
    ),
    row(
        Cause::HostKeyChanged,
        &[
            "@    warning: remote host identification has changed!     @",
            "host key for ~ has changed and you have requested strict checking.",
            "~ host key for ~ has changed and you have requested strict checking.",
        ],
    ),
];

/// What ssh says of a host certificate. It goes on with the plain key: this is the cause only where that key is not known either.
pub(super) const HOST_CERTIFICATE: &[Row] = &[
    row(
        Cause::SshSettings,
        &["error checking host key ~ ~ in revoked keys file *"],
    ),
    row(
        Cause::Clock,
        &[
            "certificate invalid: expired",
            "certificate invalid: not yet valid",
        ],
    ),
    row(
        Cause::HostCertificate,
        &[
            "certificate invalid: *",
            "certificate contains unsupported critical options*",
            "certificate lacks principal list",
        ],
    ),
];

/// What ends ssh where the server is not proved.
pub(super) const UNVERIFIED: &[&str] = &["host key verification failed."];

/// What ssh says.
pub(super) const SSH: &[Row] = &[
    row(
        Cause::SshSettings,
        &[
            "bad configuration option: *",
            "~: line ~: bad configuration option: *",
            "command-line line ~: bad configuration option: *",
            "command-line: line ~: bad configuration option: *",
            "~ line ~: bad *",
            "~ line ~: no argument after keyword *",
            "~ line ~: unsupported option *",
            "~ line ~: missing *",
            "bad owner or permissions on ~",
        ],
    ),
    row(
        Cause::SshSettings,
        &["~: terminating, ~ bad configuration options"],
    ),
    row(
        Cause::SshAlgorithms,
        &[
            "unable to negotiate with ~ port ~: no matching * found. their offer: *",
            "bad server host key: *",
            "ssh_dispatch_run_fatal: connection to ~ port ~: invalid key length",
            "ssh_dispatch_run_fatal: connection to ~ port ~: unknown or unsupported key type",
            "ssh_dispatch_run_fatal: connection to ~ port ~: error in libcrypto",
        ],
    ),
    row(
        Cause::Address,
        &[
            "hostname contains invalid characters",
            "remote username contains invalid characters",
            "bad port '*'",
            "bad port specification *",
            // A name has no colon: what Git took for a part of it was meant as a port.
            "ssh: could not resolve hostname ~:~: *",
        ],
    ),
    row(
        Cause::HostKey,
        &[
            "host key verification failed.",
            "no ~ host key is known for ~ and you have requested strict checking.",
        ],
    ),
    row(
        Cause::KeyUnusable,
        &[
            "load key \"*\": *",
            "@         warning: unprotected private key file!          @",
            "permissions ~ for '*' are too open.",
            "no such identity: *: no such file or directory",
            "bad permissions: ignore key: *",
        ],
    ),
    row(
        Cause::KeyRefused,
        &[
            "~: permission denied (*).",
            "permission denied (*).",
            "permission denied, please try again.",
            "received disconnect from ~ port ~: too many authentication failures*",
            "received disconnect from ~ port ~: no supported authentication methods available*",
        ],
    ),
    row(
        Cause::ProgramMissing,
        &[
            "error: cannot run ~: no such file or directory",
            "fatal: cannot exec '*': no such file or directory",
            "~/ssh: no such file or directory",
            "~: line ~: ssh: command not found",
            "~: ~: ssh: not found",
            "~: ssh: not found",
        ],
    ),
];

/// What ssh says of the network.
pub(super) const SSH_NETWORK: &[Row] = &[row(
    Cause::Network,
    &[
        "ssh: connect to host ~ port ~: *",
        "ssh: could not resolve hostname ~: *",
        "connection closed by ~ port ~",
        "connection closed by ~",
        "connection reset by ~ port ~",
        "connection to ~ port ~ timed out",
        "connection timed out during banner exchange",
        "kex_exchange_identification: *",
        "ssh_exchange_identification: *",
        "banner exchange: *",
        "ssh_dispatch_run_fatal: connection to ~ port ~: *",
        "client_loop: send disconnect: *",
        "timeout, server ~ not responding.",
        "connection to ~ closed by remote host.",
        "received disconnect from ~ port ~:*",
        "disconnected from ~ port ~",
        "packet_write_wait: connection to ~ port ~: *",
        "read from remote host ~: *",
        "write failed: broken pipe",
    ],
)];
