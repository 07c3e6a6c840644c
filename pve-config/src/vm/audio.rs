// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sound (option `audio0`).

use crate::property::{Key, properties, words};

words! {
    /// The sound card that the guest sees.
    pub enum AudioDevice {
        /// Intel HD Audio of an ICH9.
        Ich9IntelHda = "ich9-intel-hda",
        /// Intel HD Audio.
        IntelHda = "intel-hda",
        /// Audio Codec '97, for old guests.
        Ac97 = "AC97",
    }
}

words! {
    /// Where the sound goes on the host.
    pub enum AudioDriver {
        /// To the SPICE client.
        Spice = "spice",
        /// Nowhere.
        None = "none",
    }
}

properties! {
    /// A sound card.
    #[derive(Copy)]
    pub struct Audio: AUDIO = "vm:audio" {
        /// The sound card that the guest sees.
        pub device: AudioDevice = Key::string("device").words(AudioDevice::WORDS).required(),
        /// Where the sound goes on the host.
        pub driver: Option<AudioDriver> = Key::string("driver").words(AudioDriver::WORDS).default("spice"),
    }
    registered: [];
    aliases: [];
}
