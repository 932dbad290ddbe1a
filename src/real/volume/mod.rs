//! What is in a partition: block input and output, the ESP with the checkpoint slots, LUKS2, ext4, swap and root images. Which disk and when is decided elsewhere.

pub mod block_io;
pub mod build_swap;
pub mod cryptsetup;
pub mod device_mapper;
pub mod esp;
pub mod esp_root;
pub mod filesystems;
pub mod free_space;
pub mod key_derivation;
pub mod luks;
pub mod probe;
pub mod root_image;
pub mod slots;
pub mod superblock;
