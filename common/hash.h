#pragma once
// Checksums and fingerprints.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace contrail {

// CRC-32C (Castagnoli, reflected 0x82f63b78), SSE4.2 where the processor has it.
// Extend from a previous value: Crc32c(Crc32c(0, a), b) == Crc32c(0, ab).
uint32_t Crc32c(uint32_t crc, const void* data, size_t size);

// The masked form stored in TFRecord framing (a CRC of data that holds CRCs is weak).
inline uint32_t MaskCrc(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// FNV-1a, 64 bits, as 16 hex digits: a fingerprint of configs and state, not a defence.
uint64_t Fnv1a(std::string_view text);
std::string Hex64(uint64_t value);

}  // namespace contrail
