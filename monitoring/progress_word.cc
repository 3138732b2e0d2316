#include "monitoring/progress_word.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "common/error.h"

namespace contrail::monitor {
namespace {

constexpr uint64_t kMagic = 0x32647262'6c727463;  // "ctrlbrd2"
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kTokenBytes = 32;

Error Fail(const std::string& path, const std::string& what) {
  return EnvironmentError("E-PROGRESS", path, what,
                          "the progress board needs 2 KiB a rank in /dev/shm, writable by you");
}

Error FailErrno(const std::string& path, const std::string& doing) {
  return Fail(path, "could not " + doing + ": " + ErrnoText(errno));
}

// What stands behind the last dot, fitted to its place in the header.
std::array<char, kTokenBytes> TokenOf(const std::string& path) {
  std::array<char, kTokenBytes> token{};
  const std::string text = path.substr(path.rfind('.') + 1);
  std::memcpy(token.data(), text.data(), std::min(text.size(), token.size() - 1));
  return token;
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

struct ProgressBoard::Header {
  uint64_t magic;
  uint32_t words;
  Maker maker;
  std::array<char, kTokenBytes> token;
};

// `version` is odd while the text is being written, and 0 before the first.
struct ProgressBoard::Slot {
  std::atomic<uint64_t> version;
  std::atomic<uint64_t> size;
  std::array<char, kLastWordsBytes> text;
};

const char* PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kAbsent:
      return "absent";
    case Phase::kStarting:
      return "starting";
    case Phase::kTraining:
      return "training";
    case Phase::kSaving:
      return "saving";
    case Phase::kDone:
      return "done";
    case Phase::kFailed:
      return "failed";
  }
  return "unknown";
}

const char* ActivityText(Activity activity) {
  switch (activity) {
    case Activity::kStarting:
      return "starting";
    case Activity::kIndexing:
      return "indexing the data";
    case Activity::kReading:
      return "reading a checkpoint";
    case Activity::kComputing:
      return "computing";
    case Activity::kExchanging:
      return "waiting for other ranks";
    case Activity::kData:
      return "waiting for data";
    case Activity::kSaving:
      return "saving";
    case Activity::kEvaluating:
      return "evaluating";
    case Activity::kEnding:
      return "ending";
  }
  return "at work";
}

const char* OperationName(Operation operation) {
  switch (operation) {
    case Operation::kNone:
      return "";
    case Operation::kAllReduce:
      return "allreduce";
    case Operation::kReduceScatter:
      return "reduce_scatter";
    case Operation::kAllGather:
      return "allgather";
    case Operation::kBroadcast:
      return "broadcast";
    case Operation::kBarrier:
      return "barrier";
  }
  return "";
}

size_t ProgressBoard::BytesFor(int words) {
  static_assert(sizeof(Header) <= kHeaderBytes && sizeof(Slot) == 2048);
  return kHeaderBytes + static_cast<size_t>(words) * (sizeof(ProgressWord) + sizeof(Slot));
}

std::unique_ptr<ProgressBoard> ProgressBoard::MapFile(int fd, size_t size,
                                                      const std::string& path) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) throw FailErrno(path, "map");
  return std::unique_ptr<ProgressBoard>(new ProgressBoard(memory, size));
}

std::unique_ptr<ProgressBoard> ProgressBoard::Make(const std::string& path, int words,
                                                   Maker maker) {
  words = std::clamp(words, 1, kMaxWords);
  // Under a name of our own first, so that nobody ever finds half a board.
  const std::string draft = path + ".new." + std::to_string(getpid());
  const Fd fd(open(draft.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (fd.get() < 0) throw FailErrno(draft, "make");
  std::unique_ptr<ProgressBoard> board;
  bool named = false;
  int error = 0;
  try {
    // New bytes are zeros: every rank absent. Allocating now turns a full /dev/shm into an error
    // here instead of a SIGBUS at the first store.
    const size_t size = BytesFor(words);
    errno = posix_fallocate(fd.get(), 0, static_cast<off_t>(size));
    if (errno != 0) throw FailErrno(path, "allocate");
    board = MapFile(fd.get(), size, path);
    board->header() = {kMagic, static_cast<uint32_t>(words), maker, TokenOf(path)};
    named = link(draft.c_str(), path.c_str()) == 0;
    error = errno;
  } catch (...) {
    unlink(draft.c_str());
    throw;
  }
  unlink(draft.c_str());
  if (named) return board;
  if (error == EEXIST) return nullptr;
  errno = error;
  throw FailErrno(path, "name");
}

std::unique_ptr<ProgressBoard> ProgressBoard::Open(const std::string& path, int words) {
  const Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd.get() < 0) {
    if (errno == ENOENT) return nullptr;
    throw FailErrno(path, "open");
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) throw FailErrno(path, "look at");
  const auto size = static_cast<size_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
    throw Fail(path, "belongs to somebody else, or others may write it");
  }
  if (size < BytesFor(1)) throw Fail(path, "is no progress board");
  auto board = MapFile(fd.get(), size, path);
  const Header& header = board->header();
  const auto have = static_cast<int>(std::min<uint32_t>(header.words, kMaxWords + 1));
  if (header.magic != kMagic || have > kMaxWords || size != BytesFor(have)) {
    throw Fail(path, "is no progress board of this version");
  }
  if (header.token != TokenOf(path)) throw Fail(path, "is another job's");
  if (have < std::min(words, kMaxWords)) throw Fail(path, "is too small for this job");
  return board;
}

std::unique_ptr<ProgressBoard> ProgressBoard::OpenOrMake(const std::string& path, int words) {
  // Several workers may find none: one makes it, and the others find that. Where it was unlinked
  // in between, everybody had mapped it, or the attempt is over.
  for (int tries = 0; tries < 3; ++tries) {
    if (auto board = Open(path, words)) return board;
    if (auto board = Make(path, words, Maker::kWorker)) return board;
  }
  throw Fail(path, "comes and goes");
}

std::unique_ptr<ProgressBoard> ProgressBoard::Private() {
  const size_t size = BytesFor(1);
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw FailErrno("private memory", "map");
  std::unique_ptr<ProgressBoard> board(new ProgressBoard(memory, size));
  board->header() = {kMagic, 1, Maker::kWorker, {}};
  return board;
}

ProgressBoard::~ProgressBoard() { munmap(memory_, size_); }

ProgressBoard::Header& ProgressBoard::header() const { return *static_cast<Header*>(memory_); }

int ProgressBoard::words() const { return static_cast<int>(header().words); }

ProgressBoard::Maker ProgressBoard::maker() const { return header().maker; }

ProgressWord& ProgressBoard::word(int index) {
  CONTRAIL_ASSERT(index >= 0 && index < words());
  return reinterpret_cast<ProgressWord*>(static_cast<char*>(memory_) + kHeaderBytes)[index];
}

const ProgressWord& ProgressBoard::word(int index) const {
  return const_cast<ProgressBoard*>(this)->word(index);
}

ProgressBoard::Slot& ProgressBoard::slot(int index) const {
  CONTRAIL_ASSERT(index >= 0 && index < words());
  const size_t after_words = kHeaderBytes + static_cast<size_t>(words()) * sizeof(ProgressWord);
  return reinterpret_cast<Slot*>(static_cast<char*>(memory_) + after_words)[index];
}

namespace {

// A text that another process may be writing: which of its bytes are whole is told by the version
// around it, so their order does not matter, but each byte is a shared one.
void StoreBytes(const char* from, size_t size, char* shared) {
  for (size_t i = 0; i < size; ++i) {
    std::atomic_ref<char>(shared[i]).store(from[i], std::memory_order_relaxed);
  }
}

void LoadBytes(char* shared, size_t size, char* to) {
  for (size_t i = 0; i < size; ++i) {
    to[i] = std::atomic_ref<char>(shared[i]).load(std::memory_order_relaxed);
  }
}

}  // namespace

void ProgressBoard::Say(int index, std::string_view text) {
  Slot& mine = slot(index);
  const uint64_t version = mine.version.load(std::memory_order_relaxed) | 1;
  mine.version.store(version, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const size_t size = std::min(text.size(), kLastWordsBytes);
  StoreBytes(text.data(), size, mine.text.data());
  mine.size.store(size, std::memory_order_relaxed);
  mine.version.store(version + 1, std::memory_order_release);
}

std::optional<std::string> ProgressBoard::LastWords(int index) const {
  Slot& theirs = slot(index);
  const uint64_t version = theirs.version.load(std::memory_order_acquire);
  if (version == 0 || version % 2 == 1) return std::nullopt;
  const size_t size =
      std::min<size_t>(theirs.size.load(std::memory_order_relaxed), kLastWordsBytes);
  std::string text(size, '\0');
  LoadBytes(theirs.text.data(), size, text.data());
  std::atomic_thread_fence(std::memory_order_acquire);
  if (theirs.version.load(std::memory_order_relaxed) != version) return std::nullopt;
  return text;
}

}  // namespace contrail::monitor
