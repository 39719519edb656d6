//! How a device's sound is packed into binary messages: three versions of the protocol, and the MQTT gateway's. Pure;
//! reads what strangers send.

/// Which packing a device uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// Version 1: an Opus packet and nothing else.
    #[default]
    Bare,
    /// Version 2: version, type, reserved, time in ms, size; then the packet. 16 bytes, big-endian.
    Timed,
    /// Version 3: type, reserved, size; then the packet. 4 bytes, big-endian.
    Short,
    /// From the MQTT gateway: type, reserved, size, sequence number, time in ms, size. 16 bytes, big-endian.
    Gateway,
}

impl Framing {
    /// By the number that a device's header or hello says; unknown ones are as the first.
    pub(super) fn of_version(version: u64) -> Self {
        match version {
            2 => Self::Timed,
            3 => Self::Short,
            _ => Self::Bare,
        }
    }

    /// The Opus packet in `message`; `None` if there is none.
    pub(super) fn unpack(self, message: &[u8]) -> Option<&[u8]> {
        let (header, is_sound, size) = match self {
            Self::Bare => return Some(message).filter(|packet| !packet.is_empty()),
            Self::Timed => (16, be16(message, 2)? == 0, be32(message, 12)?),
            Self::Short => (4, *message.first()? == 0, usize::from(be16(message, 2)?)),
            Self::Gateway => (16, true, be32(message, 12)?),
        };
        let packet = message.get(header..)?.get(..size)?;
        (is_sound && !packet.is_empty()).then_some(packet)
    }

    /// The `sequence`th Opus packet of 60 ms, as a message.
    pub(super) fn pack(self, packet: &[u8], sequence: u32) -> Vec<u8> {
        let size = packet.len() as u32;
        let time_ms = sequence.wrapping_mul(60);
        let mut message = Vec::with_capacity(16 + packet.len());
        match self {
            Self::Bare => {}
            Self::Timed => {
                message.extend([0, 2, 0, 0, 0, 0, 0, 0]);
                message.extend(time_ms.to_be_bytes());
                message.extend(size.to_be_bytes());
            }
            Self::Short => {
                message.extend([0, 0]);
                message.extend((size as u16).to_be_bytes());
            }
            Self::Gateway => {
                message.extend([1, 0]);
                message.extend((size as u16).to_be_bytes());
                message.extend(sequence.to_be_bytes());
                message.extend(time_ms.to_be_bytes());
                message.extend(size.to_be_bytes());
            }
        }
        message.extend(packet);
        message
    }
}

fn be16(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

fn be32(message: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Framing; 4] = [Framing::Bare, Framing::Timed, Framing::Short, Framing::Gateway];

    #[test]
    fn headers_are_those_of_the_firmware() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&Framing::Timed.pack(&[7, 8, 9], 2)), "00020000000000000000007800000003070809");
        assert_eq!(hex(&Framing::Short.pack(&[7, 8, 9], 2)), "00000003070809");
        assert_eq!(hex(&Framing::Gateway.pack(&[7], 1)), "01000001000000010000003c0000000107");
        // The reference's example: 1000 ms, three bytes.
        let message = [0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 3, 1, 2, 3];
        assert_eq!(Framing::Timed.unpack(&message), Some(&[1_u8, 2, 3][..]));
    }

    #[test]
    fn what_is_no_sound_or_lies_about_its_size_is_none() {
        assert_eq!(Framing::Timed.unpack(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9]), None, "JSON");
        assert_eq!(Framing::Short.unpack(&[0, 0, 0xff, 0xff, 1]), None);
        assert_eq!(Framing::Bare.unpack(&[]), None);
    }

    proptest! {
        #[test]
        fn a_packet_comes_out_as_it_went_in(packet in proptest::collection::vec(any::<u8>(), 1..400), n in any::<u32>()) {
            for framing in ALL {
                let packed = framing.pack(&packet, n);
                prop_assert_eq!(framing.unpack(&packed), Some(&packet[..]));
            }
        }

        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            for framing in ALL {
                let _ = framing.unpack(&message);
            }
        }
    }
}
