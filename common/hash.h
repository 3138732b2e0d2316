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

// One checksum for every `page` bytes of data, the last page may be shorter; `crcs` has room for
// them. Faster than one by one: pages do not wait for each other.
void Crc32cOfPages(const void* data, size_t size, size_t page, uint32_t* crcs);
// The checksum of all `size` bytes from those of their pages, without the bytes.
uint32_t Crc32cFromPages(const uint32_t* crcs, uint64_t size, uint64_t page);
// What Crc32c of a text changes by (exclusive or) where zeros inside it become `data`, with `after`
// bytes of the text behind them: a checksum is linear, so several writers can each say what they
// change and need not see each other's bytes.
uint32_t Crc32cChange(const void* data, size_t size, uint64_t after);

// The masked form stored in TFRecord framing (a CRC of data that holds CRCs is weak).
inline uint32_t MaskCrc(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

// FNV-1a, 64 bits, as 16 hex digits: a fingerprint of configs and state, not a defence.
uint64_t Fnv1a(std::string_view text);
std::string Hex64(uint64_t value);

}  // namespace contrail
