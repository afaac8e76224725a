//! Which values of `Host` are one.

/// Whether a `Host` value is one host with an optional port: a name, or an address of IPv6 in brackets.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.iter().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if value[at] == b':' => (&value[..at], Some(&value[at + 1..])),
        _ => (value, None),
    };
    let is_host = match host {
        [b'[', inner @ .., b']'] => {
            !inner.is_empty() && inner.iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte))
        }
        [] => false,
        name => name.iter().all(|byte| OF_HOSTS[*byte as usize]),
    };
    // A port may be missing behind its colon. Source: RFC 3986 section 3.2.3.
    is_host && port.is_none_or(is_port)
}

fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        digit.is_ascii_digit().then(|| (number * 10 + u32::from(digit - b'0')).min(1 << 16))
    });
    number.is_some_and(|number| u16::try_from(number).is_ok())
}

/// Which bytes names of hosts are made of. Source: RFC 3986 section 3.2.2.
static OF_HOSTS: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        let is_sign = matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b';'
                | b'='
        );
        table[byte as usize] = byte.is_ascii_alphanumeric() || is_sign;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_host_with_an_optional_port() {
        for good in
            ["a.example", "a.example:8080", "a:", "[::1]:80", "[::1]", "127.0.0.1", "my_service", "a:65535"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", "a,b", "u@h", "h/x", "a b", "h?x", "h#x", "h:80:80", "[::1", "::1", "[]", "[x]", "h:65536",
            "h:+1", ":80", "[::1]a",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
