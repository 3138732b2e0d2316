#include "common/hash.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace contrail {
namespace {

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? (c >> 1) ^ 0x82f63b78u : c >> 1;
    table[i] = c;
  }
  return table;
}

uint32_t Software(uint32_t crc, const unsigned char* p, size_t n) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  for (; n > 0; --n) crc = kTable[(crc ^ *p++) & 0xff] ^ (crc >> 8);
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Hardware(uint32_t crc, const unsigned char* p,
                                                    size_t n) {
  uint64_t wide = crc;
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; n > 0; --n) crc = __builtin_ia32_crc32qi(crc, *p++);
  return crc;
}

// Three pages at once: the instruction takes three cycles, and one can start in every cycle.
__attribute__((target("sse4.2"))) void HardwareTriple(const unsigned char* p, size_t page,
                                                      uint32_t* crcs) {
  uint64_t a = 0xffffffffu, b = a, c = a;
  size_t at = 0;
  for (; at + 8 <= page; at += 8) {
    uint64_t words[3];
    std::memcpy(&words[0], p + at, 8);
    std::memcpy(&words[1], p + page + at, 8);
    std::memcpy(&words[2], p + 2 * page + at, 8);
    a = __builtin_ia32_crc32di(a, words[0]);
    b = __builtin_ia32_crc32di(b, words[1]);
    c = __builtin_ia32_crc32di(c, words[2]);
  }
  crcs[0] = ~Hardware(static_cast<uint32_t>(a), p + at, page - at);
  crcs[1] = ~Hardware(static_cast<uint32_t>(b), p + page + at, page - at);
  crcs[2] = ~Hardware(static_cast<uint32_t>(c), p + 2 * page + at, page - at);
}

bool HasInstruction() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}
#endif

// Polynomials over GF(2) modulo Castagnoli's, bit-reversed as everywhere: bit 31 is x^0.
uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = uint32_t{1} << 31; bit != 0; bit >>= 1) {
    product ^= (a & bit) ? b : 0;
    b = (b >> 1) ^ ((b & 1) ? 0x82f63b78u : 0);
  }
  return product;
}

// x^(8 bytes): what a checksum is multiplied by when that many bytes follow.
uint32_t Shift(uint64_t bytes) {
  uint32_t result = uint32_t{1} << 31;       // x^0
  uint32_t power = uint32_t{1} << (31 - 8);  // x^8, then its squares
  for (; bytes > 0; bytes >>= 1) {
    if (bytes & 1) result = Multiply(result, power);
    power = Multiply(power, power);
  }
  return result;
}

}  // namespace

uint32_t Crc32c(uint32_t crc, const void* data, size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  if (HasInstruction()) return ~Hardware(~crc, p, size);
#endif
  return ~Software(~crc, p, size);
}

void Crc32cOfPages(const void* data, size_t size, size_t page, uint32_t* crcs) {
  const auto* p = static_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  if (HasInstruction()) {
    for (; size >= 3 * page; size -= 3 * page, p += 3 * page, crcs += 3)
      HardwareTriple(p, page, crcs);
  }
#endif
  for (; size > 0; ++crcs) {
    const size_t n = std::min(size, page);
    *crcs = Crc32c(0, p, n);
    p += n;
    size -= n;
  }
}

uint32_t Crc32cFromPages(const uint32_t* crcs, uint64_t size, uint64_t page) {
  const uint32_t by_page = Shift(page);
  uint32_t crc = 0;
  for (; size >= page; size -= page) crc = Multiply(by_page, crc) ^ *crcs++;
  return size == 0 ? crc : Multiply(Shift(size), crc) ^ *crcs;
}

uint32_t Crc32cChange(const void* data, size_t size, uint64_t after) {
  const std::string zeros(size, '\0');
  return Multiply(Shift(after), Crc32c(0, data, size) ^ Crc32c(0, zeros.data(), size));
}

uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

std::string Hex64(uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

}  // namespace contrail
