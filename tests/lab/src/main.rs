//! The laboratory.
#![allow(dead_code)]

mod closure;
mod git;
mod proxy;
fn main() -> anyhow::Result<()> {
    let cache = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let mut plain = closure::ClosureParams::plain("box");
    plain.revision = "r1".to_owned();
    for params in [
        plain.clone(),
        plain
            .with_luks("LUKS", "cryptroot")
            .with_swap("SWAP")
            .with_filler(250, 8),
    ] {
        let start = std::time::Instant::now();
        let built = closure::build(&cache, &params)?;
        println!(
            "{} {} {} {:?}",
            built.toplevel,
            built.paths.len(),
            built.bytes,
            start.elapsed()
        );
        println!("{}", built.nix_tree.display());
    }
    let inputs = closure::build_inputs(&cache)?;
    println!("{:#?}", inputs.named);
    println!("{}", inputs.closure.nix_tree.display());
    let hosts = [closure::ClosureParams::plain("box")];
    let repository = git::Repository::create(&cache.join("git"), "config", "main", &hosts, &inputs)?;
    repository.bundle(&cache.join("config.bundle"))?;
    println!("{}", repository.revision);
    if std::env::args().nth(2).is_some() {
        let server = git::Server::start(&cache.join("git"), git::Protocol::Git)?;
        println!("{}", server.guest_url(server.address().port(), "config.git"));
        std::thread::sleep(std::time::Duration::from_secs(200));
    }
    Ok(())
}
