#include "data/bpe.h"

#include <stdexcept>

#include "common/error.h"
#include "data/gzip.h"
#include "data/tokenizer.h"

namespace contrail::data {
namespace {

constexpr int kMerges = 49152 - 256 - 2;
constexpr int32_t kFirstMerge = 512;  // 256 bytes, 256 bytes that end a word

// GPT-2's printable stand-ins for bytes: printable Latin-1 bytes stand for themselves, the other 68
// for U+0100 and on. Ids follow this order: themselves first, then the others.
struct ByteAlphabet {
  std::array<int32_t, 256> id;
  std::array<std::string, 256> symbol;  // by id, UTF-8
};

std::string Utf8(int c) {
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

ByteAlphabet MakeAlphabet() {
  ByteAlphabet alphabet;
  int32_t next = 0;
  const auto printable = [](int b) {
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  };
  const auto add = [&](int byte, int character) {
    alphabet.symbol[static_cast<size_t>(next)] = Utf8(character);
    alphabet.id[static_cast<size_t>(byte)] = next++;
  };
  for (int b = 0; b < 256; ++b) {
    if (printable(b)) add(b, b);
  }
  int spare = 256;
  for (int b = 0; b < 256; ++b) {
    if (!printable(b)) add(b, spare++);
  }
  return alphabet;
}

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

Error Bad(const std::string& where, const std::string& what) {
  return UserError("E-DATA-VOCAB", where, what,
                   "use CLIP's bpe_simple_vocab_16e6.txt.gz, as open_clip_torch ships it");
}

std::string ReadMerges(const std::string& path) {
  constexpr size_t kLimit = 64 << 20;
  try {
    return ReadGzip(path, kLimit);
  } catch (const std::runtime_error& cause) {
    throw Bad(path, std::string("cannot read the merges: ") + cause.what());
  }
}

}  // namespace

Vocabulary ReadVocabulary(const std::string& path) {
  const ByteAlphabet alphabet = MakeAlphabet();
  const std::string text = ReadMerges(path);
  Vocabulary vocabulary;
  std::unordered_map<std::string, int32_t> id_of;
  id_of.reserve(kFirstMerge + kMerges);
  const auto add = [&](const std::string& piece) {
    id_of.emplace(piece, static_cast<int32_t>(vocabulary.pieces.size()));
    vocabulary.pieces.push_back(piece);
  };
  for (const std::string& symbol : alphabet.symbol) add(symbol);
  for (const std::string& symbol : alphabet.symbol) add(symbol + "</w>");
  size_t at = text.find('\n') + 1;  // the first line is a header
  for (int32_t n = 0; n < kMerges; ++n) {
    const std::string where = path + ":" + std::to_string(n + 2);
    const size_t end = text.find('\n', at);
    if (at == 0 || end == std::string::npos) {
      throw Bad(where, "the merges end here, CLIP has " + std::to_string(kMerges));
    }
    const std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    const size_t space = line.find(' ');
    const auto left = id_of.find(std::string(line.substr(0, space)));
    const auto right = space == std::string_view::npos
                           ? id_of.end()
                           : id_of.find(std::string(line.substr(space + 1)));
    if (left == id_of.end() || right == id_of.end()) {
      throw Bad(where, "not a merge of two known pieces");
    }
    vocabulary.merges.emplace_back(left->second, right->second);
    add(left->first + right->first);
  }
  return vocabulary;
}

BytePairMerges::BytePairMerges(const std::string& path) : byte_id_(MakeAlphabet().id) {
  const Vocabulary vocabulary = ReadVocabulary(path);
  merged_.reserve(vocabulary.merges.size());
  int32_t id = kFirstMerge;
  for (const auto& [left, right] : vocabulary.merges) merged_.emplace(PairKey(left, right), id++);
}

std::vector<int32_t> BytePairMerges::Encode(std::string_view word) const {
  word = word.substr(0, kMaxWord);
  std::vector<int32_t> pieces;
  pieces.reserve(word.size());
  for (const char c : word) pieces.push_back(byte_id_[static_cast<unsigned char>(c)]);
  pieces.back() += 256;
  while (pieces.size() > 1) {
    int32_t best = INT32_MAX;
    int32_t left = 0;
    int32_t right = 0;
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      const auto found = merged_.find(PairKey(pieces[i], pieces[i + 1]));
      if (found == merged_.end() || found->second >= best) continue;
      best = found->second;
      left = pieces[i];
      right = pieces[i + 1];
    }
    if (best == INT32_MAX) break;
    size_t kept = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      const bool merge = i + 1 < pieces.size() && pieces[i] == left && pieces[i + 1] == right;
      pieces[kept++] = merge ? best : pieces[i];
      if (merge) ++i;
    }
    pieces.resize(kept);
  }
  return pieces;
}

}  // namespace contrail::data
