//! The laboratory.
#![allow(dead_code, unused_imports)]

mod closure;
mod git;
mod proxy;

/// A trial of the closure's and the repository's half, until the laboratory's own commands are here: prints what
/// `cache` then has.
fn main() -> anyhow::Result<()> {
    let cache = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let fault: u64 = std::env::args().nth(2).unwrap_or_default().parse().unwrap_or(0);
    let plain = closure::ClosureParams::plain("box");
    let luks = plain.clone().with_luks("LUKS", "cryptroot").with_swap("SWAP");
    for params in [plain.clone(), luks, plain.clone().with_filler(2000, 16)] {
        let start = std::time::Instant::now();
        let built = closure::build(&cache, &params)?;
        println!("{} {} {:?}", built.paths.len(), built.bytes, start.elapsed());
        println!("TREE {} {}", built.nix_tree.display(), built.toplevel);
    }
    let inputs = closure::build_inputs(&cache)?;
    println!("TREE {} none", inputs.closure.nix_tree.display());
    let mut repository = git::Repository::create(&cache.join("git"), "config", "main", &[plain], &inputs)?;
    repository.fatten(2_000_000)?;
    println!("{} {}", repository.revision, repository.tarball()?);
    if fault > 0 {
        let server = git::Server::start(&cache.join("git"), git::Protocol::Git)?;
        let proxy = proxy::Proxy::start(server.address())?;
        proxy.break_next(1, proxy::Fault::Reset { after: fault });
        println!("{}", server.guest_url(proxy.address().port(), "config.git"));
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_secs(2));
            eprintln!("{:?}", proxy.counts());
        }
    }
    Ok(())
}
