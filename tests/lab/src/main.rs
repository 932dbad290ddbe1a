//! The laboratory.
#![allow(dead_code)]

mod closure;
mod proxy;
fn main() -> anyhow::Result<()> {
    let cache = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_default());
    let mut plain = closure::ClosureParams::plain("box");
    plain.revision = "r1".to_owned();
    for params in [plain.clone(), plain.with_luks("LUKS", "cryptroot").with_swap("SWAP").with_filler(250, 8)] {
        let start = std::time::Instant::now();
        let built = closure::build(&cache, &params)?;
        println!("{} {} {} {:?}", built.toplevel, built.paths.len(), built.bytes, start.elapsed());
        println!("{}", built.nix_tree.display());
    }
    let inputs = closure::build_inputs(&cache)?;
    println!("{:#?}", inputs.named);
    Ok(())
}
