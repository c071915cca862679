//! From the configuration's shapes to the devices' options.

use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use devices::virtio::balloon::{BalloonOptions, Offered};
use devices::virtio::block::{
    Access, BackingFiles, BlockOptions, Caching, Engine, ImageType, Limits, TokenBucket,
};
use devices::virtio::net::{HostAddress, MacAddress, NetOptions, Offloads};

use super::OpenDeviceError;
use crate::config::{self, BalloonConfig, DiskConfig, NetConfig, RateLimiterConfig};

pub(super) fn disk(id: &str, disk: &DiskConfig) -> BlockOptions {
    BlockOptions {
        access: if disk.readonly { Access::ReadOnly } else { Access::ReadWrite },
        caching: if disk.direct { Caching::Direct } else { Caching::Buffered },
        image_type: disk.image_type.map(|image| match image {
            config::ImageType::Raw => ImageType::Raw,
            config::ImageType::Qcow2 => ImageType::Qcow2,
        }),
        backing_files: if disk.backing_files {
            BackingFiles::Followed
        } else {
            BackingFiles::Refused
        },
        engine: if disk.disable_io_uring { Engine::Blocking } else { Engine::IoUring },
        // The configuration was checked: it has at most as many.
        num_queues: u16::try_from(disk.num_queues).unwrap_or(u16::MAX),
        queue_size: disk.queue_size,
        serial: disk.serial.clone(),
        limits: limits(&disk.rate_limiter_config),
        ..BlockOptions::new(id, &disk.path)
    }
}

fn limits(config: &RateLimiterConfig) -> Limits {
    let bucket = |bucket: config::TokenBucket| TokenBucket {
        size: bucket.size,
        one_time_burst: bucket.one_time_burst.unwrap_or(0),
        refill_time: Duration::from_millis(bucket.refill_time),
    };
    Limits { bandwidth: config.bandwidth.map(bucket), operations: config.ops.map(bucket) }
}

pub(super) fn balloon(balloon: &BalloonConfig) -> BalloonOptions {
    let offered = |on| if on { Offered::Yes } else { Offered::No };
    BalloonOptions {
        size: balloon.size,
        deflate_on_oom: offered(balloon.deflate_on_oom),
        free_page_reporting: offered(balloon.free_page_reporting),
    }
}
