#include "launcher/doctor.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>

namespace contrail::launcher {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr const char* kBuilt = "Open MPI 4.1.4";
constexpr const char* kIntel =
    "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 20230307 (id: d82b3071db)";
constexpr const char* kHydra = "HYDRA build details:\n    Version:        4.0.2\n";

TEST(DoctorMpi, TheOneItWasBuiltWith) {
  const Finding same = JudgeMpirun("/usr/bin/mpirun", "mpirun (Open MPI) 4.1.4\n\nReport", kBuilt);
  EXPECT_EQ(same.health, Health::kOk);
  EXPECT_THAT(same.text, HasSubstr("Open MPI 4.1.4 at /usr/bin/mpirun"));
  const Finding other_minor = JudgeMpirun("mpirun", "mpirun (Open MPI) 4.0.7\n", kBuilt);
  EXPECT_EQ(other_minor.health, Health::kOk);
  EXPECT_THAT(other_minor.text, HasSubstr("4.1.4"));
}

TEST(DoctorMpi, AnotherMajorVersion) {
  const Finding finding = JudgeMpirun("mpirun", "mpirun (Open MPI) 5.0.3\n", kBuilt);
  EXPECT_EQ(finding.health, Health::kWarn);
  EXPECT_THAT(finding.fix, HasSubstr("Open MPI 4"));
}

TEST(DoctorMpi, AnotherFlavour) {
  for (const char* said : {kIntel, kHydra}) {
    const Finding finding = JudgeMpirun("/opt/mpirun", said, kBuilt);
    EXPECT_EQ(finding.health, Health::kBad) << said;
    EXPECT_THAT(finding.text,
                HasSubstr("/opt/mpirun, but contrail-worker was built with Open MPI"));
    EXPECT_THAT(finding.fix, HasSubstr("launcher.mpirun"));
  }
  EXPECT_THAT(JudgeMpirun("m", kIntel, kBuilt).text, HasSubstr("Intel MPI 2021.9"));
  EXPECT_THAT(JudgeMpirun("m", kHydra, kBuilt).text, HasSubstr("MPICH 4.0.2"));
}

TEST(DoctorMpi, NoneOrUnknown) {
  EXPECT_EQ(JudgeMpirun("mpirun", std::nullopt, kBuilt).health, Health::kBad);
  const Finding unknown = JudgeMpirun("mpirun", "slurm-wlm 22.05.8", kBuilt);
  EXPECT_EQ(unknown.health, Health::kBad);
  EXPECT_THAT(unknown.text, HasSubstr("slurm-wlm"));
}

TEST(DoctorLibraries, AllThere) {
  const auto findings = JudgeLibraries(
      "\tlibmpi.so.40 => /opt/ompi/lib/libmpi.so.40 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 "
      "(0x00007f)\n",
      "/opt/ompi/bin/mpirun");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].health, Health::kOk);
  EXPECT_THAT(findings[0].text, HasSubstr("/opt/ompi/lib/libmpi.so.40"));
}

TEST(DoctorLibraries, EveryOneThatIsMissing) {
  const auto findings = JudgeLibraries(
      "\tlibhdf5_serial.so.103 => not found\n\tlibmpi.so.40 => not found\n"
      "./contrail-worker: /lib64/libc.so.6: version `GLIBC_2.36' not found (required by "
      "./contrail-worker)\n",
      "");
  ASSERT_EQ(findings.size(), 3u);
  for (const Finding& finding : findings) EXPECT_EQ(finding.health, Health::kBad);
  EXPECT_THAT(findings[0].text, HasSubstr("libhdf5_serial.so.103 is not found"));
  EXPECT_THAT(findings[2].text, HasSubstr("GLIBC_2.36"));
}

TEST(DoctorLibraries, TheMpiOfAnotherInstallation) {
  const auto findings =
      JudgeLibraries("\tlibmpi.so.40 => /opt/a/lib/libmpi.so.40 (0x7f)\n", "/opt/b/bin/mpirun");
  ASSERT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].health, Health::kWarn);
  EXPECT_THAT(findings[0].text, HasSubstr("/opt/b/bin/mpirun is of another MPI"));
}

TEST(DoctorMachine, SharedMemory) {
  EXPECT_EQ(JudgeSharedMemory(64'000'000, 64'000'000, 4).health, Health::kOk);
  const Finding little = JudgeSharedMemory(64'000'000, 64'000'000, 32);
  EXPECT_EQ(little.health, Health::kBad);
  EXPECT_THAT(little.text, HasSubstr("32 ranks need 192 MB"));
}

TEST(DoctorMachine, FileLimits) {
  EXPECT_EQ(JudgeFileLimits(1 << 20, UINT64_MAX).health, Health::kOk);
  EXPECT_EQ(JudgeFileLimits(1024, UINT64_MAX).health, Health::kWarn);
  EXPECT_EQ(JudgeFileLimits(64, UINT64_MAX).health, Health::kBad);
  const Finding small_files = JudgeFileLimits(1 << 20, 1'000'000);
  EXPECT_EQ(small_files.health, Health::kBad);
  EXPECT_THAT(small_files.fix, HasSubstr("ulimit -f"));
}

TEST(DoctorMachine, Processor) {
  EXPECT_EQ(JudgeProcessor("avx512", 8, 8).health, Health::kOk);
  EXPECT_EQ(JudgeProcessor("baseline", 8, 8).health, Health::kWarn);
  const Finding one_core = JudgeProcessor("avx2", 1, 4);
  EXPECT_EQ(one_core.health, Health::kWarn);
  EXPECT_THAT(one_core.fix, HasSubstr("--cpus-per-task"));
}

constexpr uint64_t kRoom = 1'000'000'000'000;

TEST(DoctorDisk, Judges) {
  const auto health = [](const DiskFacts& facts) { return JudgeDisk(facts).health; };
  EXPECT_EQ(health({.path = "/x", .kind = "lustre", .free_bytes = kRoom}), Health::kOk);
  EXPECT_EQ(health({.path = "/x", .problem = "E-IO: no", .kind = "nfs", .free_bytes = kRoom}),
            Health::kBad);
  EXPECT_EQ(health({.path = "/x", .kind = "xfs", .free_bytes = 1000}), Health::kBad);
  EXPECT_EQ(health({.path = "/x", .kind = "xfs", .free_bytes = kRoom, .free_files = 0}),
            Health::kBad);
  EXPECT_EQ(health({.path = "/x", .kind = "xfs", .free_bytes = kRoom / 100}), Health::kWarn);
  EXPECT_EQ(health({.path = "/x", .kind = "tmpfs", .free_bytes = kRoom}), Health::kWarn);
  EXPECT_EQ(health({.path = "/x", .kind = "overlay", .free_bytes = kRoom}), Health::kWarn);
  EXPECT_EQ(health({.path = "/x", .kind = "nfs", .free_bytes = kRoom, .locks = false}),
            Health::kWarn);
}

class DoctorLooks : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/contrail_doctor_XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

TEST_F(DoctorLooks, LeavesNothingBehind) {
  const Finding finding = LookAtDisk(dir_ + "/runs/not/yet/there");
  EXPECT_THAT(finding.text, HasSubstr(dir_ + ":"));
  EXPECT_THAT(finding.text, Not(HasSubstr("0x0")));
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(DoctorLooks, AFolderThatMayNotBeWritten) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  chmod(dir_.c_str(), 0500);
  const Finding finding = LookAtDisk(dir_ + "/run");
  EXPECT_EQ(finding.health, Health::kBad);
  EXPECT_THAT(finding.text, HasSubstr("E-IO"));
  EXPECT_THAT(finding.fix, HasSubstr("run.dir"));
}

// A program in mpirun's place that says what an MPI would.
TEST_F(DoctorLooks, AsksMpirun) {
  const std::string program = dir_ + "/mpirun";
  FILE* const script = fopen(program.c_str(), "w");
  fprintf(script, "#!/bin/sh\n[ \"$1\" = --version ] && echo 'mpirun (Open MPI) 9.8.7'\n");
  fclose(script);
  chmod(program.c_str(), 0700);
  EXPECT_THAT(LookAtMpi(program)[0].text, HasSubstr("Open MPI 9.8.7 at " + program));
  EXPECT_EQ(LookAtMpi(dir_ + "/none")[0].health, Health::kBad);
}

TEST_F(DoctorLooks, FindsThisMachine) {
  const auto findings = LookAtMachine(1);
  EXPECT_EQ(findings.size(), 4u);
  for (const Finding& finding : findings) EXPECT_THAT(finding.text, Not(IsEmpty()));
}

}  // namespace
}  // namespace contrail::launcher
