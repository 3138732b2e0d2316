#include <cerrno>
#include <utility>

#include "common/error.h"
#include "common/recording_file_system.h"

namespace contrail {

FaultyFileSystem::FaultyFileSystem(FileSystem& inner, uint64_t fail_at, bool for_good)
    : PassThroughFileSystem(inner), fail_at_(fail_at), for_good_(for_good) {}

void FaultyFileSystem::FailQuestions(std::string part, int number, uint64_t times) {
  const std::lock_guard lock(mutex_);
  part_ = std::move(part);
  number_ = number;
  questions_left_ = times;
}

bool FaultyFileSystem::Fails() const {
  const uint64_t number = ++operations_;
  return number == fail_at_ || (for_good_ && number > fail_at_);
}

void FaultyFileSystem::Ask(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  if (questions_left_ == 0 || path.find(part_) == std::string::npos) return;
  --questions_left_;
  throw IoError(number_, path, "could not tell");
}

void FaultyFileSystem::Before(Act act, const std::string& path, const char* doing) const {
  if (act == Act::kAsk) Ask(path);
  if (act == Act::kChange && Fails()) {
    throw IoError(ENOSPC, path, std::string("could not ") + doing);
  }
}

void FaultyFileSystem::PassWrite(WritableFile& file, const std::string& path, Write write,
                                 const void* data, size_t size, uint64_t offset) const {
  const bool fails = Fails();
  (file.*write)(data, fails ? size / 2 : size, offset);
  if (fails) throw IoError(ENOSPC, path, "could not write");
}

}  // namespace contrail
