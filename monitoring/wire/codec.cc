#include "monitoring/wire/codec.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/hash.h"
#include "telemetry.pb.h"

namespace contrail::monitor {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int kSessionStart = 1;
constexpr int kTensorString = 7;
constexpr size_t kPrefix = 12;  // length and its checksum
constexpr size_t kSuffix = 4;

using Column = google::protobuf::RepeatedField<float>;

// Each per-rank time with its column.
struct ColumnSpec {
  float StepTimes::*field;
  const Column& (telemetry::RankTimes::*get)() const;
  Column* (telemetry::RankTimes::*mutate)();
};

constexpr ColumnSpec kColumns[] = {
    {&StepTimes::data_wait, &telemetry::RankTimes::data_wait,
     &telemetry::RankTimes::mutable_data_wait},
    {&StepTimes::forward, &telemetry::RankTimes::forward, &telemetry::RankTimes::mutable_forward},
    {&StepTimes::feature_gather, &telemetry::RankTimes::feature_gather,
     &telemetry::RankTimes::mutable_feature_gather},
    {&StepTimes::loss, &telemetry::RankTimes::loss, &telemetry::RankTimes::mutable_loss},
    {&StepTimes::backward, &telemetry::RankTimes::backward,
     &telemetry::RankTimes::mutable_backward},
    {&StepTimes::grad_reduce, &telemetry::RankTimes::grad_reduce,
     &telemetry::RankTimes::mutable_grad_reduce},
    {&StepTimes::optimizer, &telemetry::RankTimes::optimizer,
     &telemetry::RankTimes::mutable_optimizer},
    {&StepTimes::weight_gather, &telemetry::RankTimes::weight_gather,
     &telemetry::RankTimes::mutable_weight_gather},
    {&StepTimes::checkpoint_stall, &telemetry::RankTimes::checkpoint_stall,
     &telemetry::RankTimes::mutable_checkpoint_stall},
    {&StepTimes::total, &telemetry::RankTimes::total, &telemetry::RankTimes::mutable_total},
};
static_assert(kNumPhases == std::size(kColumns));

void EncodeRanks(const std::vector<StepTimes>& ranks, telemetry::RankTimes* out) {
  out->set_count(static_cast<uint32_t>(ranks.size()));
  for (const ColumnSpec& column : kColumns) {
    const bool empty = std::all_of(ranks.begin(), ranks.end(), [&](const StepTimes& times) {
      return std::bit_cast<uint32_t>(times.*column.field) == 0;
    });
    if (empty) continue;
    Column* values = (out->*column.mutate)();
    values->Reserve(static_cast<int>(ranks.size()));
    for (const StepTimes& times : ranks) values->Add(times.*column.field);
  }
}

std::vector<StepTimes> DecodeRanks(const telemetry::RankTimes& in) {
  // A rank count is believed only as far as columns bear it out: a number of a few bytes asks for
  // nothing. Ranks of which every time is zero have no column, and nothing to tell.
  int longest = 0;
  for (const ColumnSpec& column : kColumns) {
    longest = std::max(longest, (in.*column.get)().size());
  }
  std::vector<StepTimes> ranks(static_cast<size_t>(longest));
  for (const ColumnSpec& column : kColumns) {
    const Column& values = (in.*column.get)();
    for (int r = 0; r < values.size(); ++r) ranks[static_cast<size_t>(r)].*column.field = values[r];
  }
  return ranks;
}

void EncodeHeader(const FileHeader& header, telemetry::Header* out) {
  out->set_format(header.format);
  out->set_attempt(header.attempt);
  out->set_node(header.node);
  out->set_resumed_step(header.resumed_step);
  out->set_total_steps(header.total_steps);
  out->set_samples_per_epoch(header.samples_per_epoch);
  out->set_config_toml(header.config_toml);
  out->set_continued(header.continued);
  out->mutable_ranks()->Add(header.ranks.begin(), header.ranks.end());
}

FileHeader DecodeHeader(const telemetry::Header& in) {
  return {.format = in.format(),
          .attempt = in.attempt(),
          .node = in.node(),
          .resumed_step = in.resumed_step(),
          .total_steps = in.total_steps(),
          .samples_per_epoch = in.samples_per_epoch(),
          .config_toml = in.config_toml(),
          .continued = in.continued(),
          .ranks = {in.ranks().begin(), in.ranks().end()}};
}

void EncodeSummary(const RankSummary& summary, telemetry::RankSummary* out) {
  for (const PhaseStats& phase : summary.phases) {
    out->add_p50(phase.p50);
    out->add_max(phase.max);
    out->add_max_rank(phase.max_rank);
  }
  out->set_gather_lateness(summary.gather_lateness);
  out->set_reduce_lateness(summary.reduce_lateness);
  out->set_gather_late_rank(summary.gather_late_rank);
  out->set_reduce_late_rank(summary.reduce_late_rank);
}

RankSummary DecodeSummary(const telemetry::RankSummary& in) {
  RankSummary summary{.gather_lateness = in.gather_lateness(),
                      .reduce_lateness = in.reduce_lateness(),
                      .gather_late_rank = in.gather_late_rank(),
                      .reduce_late_rank = in.reduce_late_rank()};
  const int known = std::min(
      {in.p50().size(), in.max().size(), in.max_rank().size(), static_cast<int>(kNumPhases)});
  for (int phase = 0; phase < known; ++phase) {
    summary.phases[static_cast<size_t>(phase)] = {in.p50(phase), in.max(phase), in.max_rank(phase)};
  }
  return summary;
}

void EncodeStep(const StepRecord& record, telemetry::StepDetail* out) {
  out->set_epoch(record.epoch);
  out->set_samples_seen(record.samples_seen);
  out->set_loss(record.loss);
  out->set_lr(record.lr);
  out->set_logit_scale(record.logit_scale);
  out->set_grad_norm(record.grad_norm);
  out->set_accuracy_image_to_text(record.accuracy_image_to_text);
  out->set_samples_per_second(record.samples_per_second);
  out->set_world_size(record.world_size);
  out->set_skipped_steps(record.skipped_steps);
  out->set_loss_scale(record.loss_scale == 1 ? 0 : record.loss_scale);
  out->set_replaced(record.replaced);
  out->set_consumed(record.consumed);
  if (!record.ranks.empty()) EncodeRanks(record.ranks, out->mutable_ranks());
  if (record.over_ranks) EncodeSummary(*record.over_ranks, out->mutable_over_ranks());
  for (const LateArrival& late : record.late) {
    telemetry::LateArrival* arrival = out->add_late();
    arrival->set_rank(late.rank);
    arrival->set_operation(static_cast<uint32_t>(late.operation));
    arrival->set_ordinal(static_cast<uint32_t>(late.ordinal));
    arrival->set_collective(late.collective);
    arrival->set_seconds(late.seconds);
  }
}

StepRecord DecodeStep(const telemetry::EventForReading& event) {
  const telemetry::StepDetail& in = event.detail().step();
  StepRecord record;
  record.step = static_cast<uint64_t>(event.step());
  record.epoch = in.epoch();
  record.samples_seen = in.samples_seen();
  record.wall_time = event.wall_time();
  record.loss = in.loss();
  record.lr = in.lr();
  record.logit_scale = in.logit_scale();
  record.grad_norm = in.grad_norm();
  record.accuracy_image_to_text = in.accuracy_image_to_text();
  record.samples_per_second = in.samples_per_second();
  record.world_size = in.world_size();
  record.skipped_steps = in.skipped_steps();
  record.loss_scale = in.loss_scale() == 0 ? 1 : in.loss_scale();
  record.replaced = in.replaced();
  record.consumed = in.consumed();
  record.ranks = DecodeRanks(in.ranks());
  if (in.has_over_ranks()) record.over_ranks = DecodeSummary(in.over_ranks());
  for (const telemetry::LateArrival& late : in.late()) {
    record.late.push_back({.rank = late.rank(),
                           .operation = static_cast<Operation>(late.operation()),
                           .ordinal = static_cast<int>(late.ordinal()),
                           .collective = late.collective(),
                           .seconds = late.seconds()});
  }
  return record;
}

void EncodeText(const std::string& tag, const std::string& text, telemetry::Summary* out) {
  telemetry::Summary::Value* value = out->add_value();
  value->set_tag(tag);
  value->mutable_metadata()->mutable_plugin_data()->set_plugin_name("text");
  telemetry::Tensor* tensor = value->mutable_tensor();
  tensor->set_dtype(kTensorString);
  tensor->mutable_tensor_shape()->add_dim()->set_size(1);
  tensor->add_string_val(text);
}

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void Store(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint32_t FrameCrc(std::string_view bytes) { return MaskCrc(Crc32c(0, bytes.data(), bytes.size())); }

bool AllZero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

std::string EncodeEvent(const TelemetryEvent& event) {
  telemetry::Event out;
  out.set_wall_time(event.wall_time);
  out.set_step(static_cast<int64_t>(event.step));
  out.set_file_version(event.file_version);
  if (event.start) out.mutable_session_log()->set_status(kSessionStart);
  for (const ScalarPoint& point : event.scalars) {
    telemetry::Summary::Value* value = out.mutable_summary()->add_value();
    value->set_tag(std::string(point.tag));
    value->set_simple_value(point.value);
  }
  if (!event.text_tag.empty()) EncodeText(event.text_tag, event.text, out.mutable_summary());
  if (event.header) EncodeHeader(*event.header, out.mutable_detail()->mutable_header());
  if (event.step_record) EncodeStep(*event.step_record, out.mutable_detail()->mutable_step());
  if (event.checkpoint) {
    telemetry::CheckpointDetail* checkpoint = out.mutable_detail()->mutable_checkpoint();
    checkpoint->set_stall_seconds(event.checkpoint->stall_seconds);
    checkpoint->set_write_seconds(event.checkpoint->write_seconds);
    checkpoint->set_bytes(event.checkpoint->bytes);
  }
  if (event.health) {
    telemetry::Health* health = out.mutable_detail()->mutable_health();
    health->set_dropped(event.health->dropped);
    health->set_closed(event.health->closed);
  }
  return out.SerializeAsString();
}

std::optional<TelemetryEvent> DecodeEvent(std::string_view payload) {
  telemetry::EventForReading in;
  if (!in.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return std::nullopt;
  TelemetryEvent event;
  event.wall_time = in.wall_time();
  event.step = static_cast<uint64_t>(in.step());
  event.file_version = in.file_version();
  event.start = in.session_log().status() == kSessionStart;
  const telemetry::Detail& detail = in.detail();
  if (detail.has_header()) event.header = DecodeHeader(detail.header());
  if (detail.has_step()) event.step_record = DecodeStep(in);
  if (detail.has_checkpoint()) {
    event.checkpoint = CheckpointRecord{.step = event.step,
                                        .wall_time = event.wall_time,
                                        .stall_seconds = detail.checkpoint().stall_seconds(),
                                        .write_seconds = detail.checkpoint().write_seconds(),
                                        .bytes = detail.checkpoint().bytes()};
  }
  if (detail.has_health()) {
    event.health = Health{.dropped = detail.health().dropped(), .closed = detail.health().closed()};
  }
  return event;
}

void AppendFrame(std::string& out, std::string_view payload) {
  const uint64_t length = payload.size();
  Store(out, length);
  Store(out, FrameCrc({reinterpret_cast<const char*>(&length), sizeof length}));
  out.append(payload);
  Store(out, FrameCrc(payload));
}

FrameScan ScanFrames(std::string_view bytes) {
  FrameScan scan;
  while (scan.consumed < bytes.size()) {
    const std::string_view rest = bytes.substr(scan.consumed);
    if (rest.size() < kPrefix) {
      scan.tail = Tail::kTorn;
      break;
    }
    if (Load<uint32_t>(rest.data() + 8) != FrameCrc(rest.substr(0, 8))) {
      scan.tail = AllZero(rest.substr(kPrefix)) ? Tail::kTorn : Tail::kCorrupt;
      break;
    }
    const auto length = Load<uint64_t>(rest.data());
    if (length > rest.size() || kPrefix + length + kSuffix > rest.size()) {
      scan.tail = Tail::kTorn;
      break;
    }
    const std::string_view payload = rest.substr(kPrefix, length);
    if (Load<uint32_t>(rest.data() + kPrefix + length) != FrameCrc(payload)) {
      scan.tail = AllZero(rest.substr(kPrefix + length + kSuffix)) ? Tail::kTorn : Tail::kCorrupt;
      break;
    }
    scan.payloads.push_back(payload);
    scan.consumed += kPrefix + length + kSuffix;
  }
  return scan;
}

}  // namespace contrail::monitor
