#include "model/files/pickle.h"

#include <bit>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "common/error.h"
#include "model/files/file_bytes.h"
#include "model/files/pickle_words.h"

namespace contrail::model::files {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMostValues = 1'000'000;  // the largest model and its optimizer have 40,000
constexpr size_t kMostDimensions = 16;

// A name in a message: short, printable.
std::string Shown(std::string name) {
  if (name.size() > 80) name = name.substr(0, 80) + "...";
  for (char& c : name) {
    if (c < 32 || c > 126) c = '?';
  }
  return name;
}

}  // namespace

class Unpickler {
 public:
  Unpickler(Pickle* pickle, std::string_view bytes, const std::string& where, bool modules)
      : pickle_(*pickle), bytes_(bytes), where_(where), modules_(modules) {}

  const PickleValue* Run() {
    while (true) {
      const auto opcode = static_cast<unsigned char>(Bytes(1)[0]);
      if (opcode == kStop) break;
      Step(opcode);
    }
    if (stack_.size() != 1 || !marks_.empty()) throw Torn();
    return stack_[0];
  }

 private:
  Error Torn() const {
    return Damaged(where_, "the pickle is torn at byte " + std::to_string(at_));
  }
  Error Refused(const std::string& what) const {
    return UserError("E-WEIGHTS-PICKLE", where_, what,
                     "only tensors, numbers and texts are read: keep to a state dict");
  }

  std::string_view Bytes(uint64_t count) {
    if (count > bytes_.size() - at_) throw Torn();
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  uint64_t Number(uint64_t size) {
    const std::string_view bytes = Bytes(size);
    uint64_t value = 0;
    for (uint64_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  std::string Line() {
    const size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) throw Torn();
    std::string line(Bytes(end - at_));
    ++at_;
    return line;
  }

  PickleValue* New(PickleValue value) {
    if (pickle_.values_.size() >= kMostValues) throw Refused("holds too many values for a model");
    return &pickle_.values_.emplace_back(std::move(value));
  }
  void Push(PickleValue* value) { stack_.push_back(value); }
  void PushNew(PickleValue value) { Push(New(std::move(value))); }
  PickleValue* Pop() {
    if (stack_.empty() || (!marks_.empty() && stack_.size() <= marks_.back())) throw Torn();
    PickleValue* value = stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue* Pop(Kind kind) {
    PickleValue* value = Pop();
    if (value->kind != kind) throw Torn();
    return value;
  }
  PickleValue* Top() {
    PickleValue* value = Pop();
    Push(value);
    return value;
  }
  std::vector<PickleValue*> PopToMark() {
    if (marks_.empty()) throw Torn();
    const auto begin = stack_.begin() + static_cast<int64_t>(marks_.back());
    std::vector<PickleValue*> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }

  void Step(unsigned char opcode) {
    switch (opcode) {
      case kProto:
        if (Number(1) > 5) throw Refused("is a pickle of a protocol above 5");
        return;
      case kFrame:
        Number(8);
        return;
      case kMark:
        return marks_.push_back(stack_.size());
      case kPop:
        Pop();
        return;
      case kNone:
        return PushNew({Kind::kNone});
      case kNewTrue:
      case kNewFalse:
        return PushNew({Kind::kBool, opcode == kNewTrue});
      case kBinInt:
        return PushNew({Kind::kInt, static_cast<int32_t>(Number(4))});
      case kBinInt1:
        return PushNew({Kind::kInt, static_cast<int64_t>(Number(1))});
      case kBinInt2:
        return PushNew({Kind::kInt, static_cast<int64_t>(Number(2))});
      case kLong1:
        return PushNew({Kind::kInt, Long(Number(1))});
      case kBinFloat:
        return PushNew({Kind::kFloat, 0, std::bit_cast<double>(__builtin_bswap64(Number(8)))});
      case kBinUnicode:
        return PushText(Number(4));
      case kShortBinUnicode:
        return PushText(Number(1));
      case kBinUnicode8:
        return PushText(Number(8));
      case kEmptyDict:
        return PushNew({Kind::kDict});
      case kEmptyList:
        return PushNew({Kind::kList});
      case kEmptyTuple:
        return PushNew({Kind::kTuple});
      case kTuple1:
      case kTuple2:
      case kTuple3:
        return PushTuple(opcode - kTuple1 + 1);
      case kTuple: {
        PickleValue tuple{Kind::kTuple};
        tuple.items = PopToMark();
        return PushNew(std::move(tuple));
      }
      case kAppend: {
        PickleValue* value = Pop();
        return Extend(Kind::kList, {value});
      }
      case kAppends:
        return Extend(Kind::kList, PopToMark());
      case kSetItem: {
        PickleValue* value = Pop();
        PickleValue* key = Pop();
        return Extend(Kind::kDict, {key, value});
      }
      case kSetItems: {
        const std::vector<PickleValue*> items = PopToMark();
        if (items.size() % 2 != 0) throw Torn();
        return Extend(Kind::kDict, items);
      }
      case kBinPut:
        memo_[Number(1)] = Top();
        return;
      case kLongBinPut:
        memo_[Number(4)] = Top();
        return;
      case kMemoize: {
        const uint64_t next = memo_.size();
        memo_[next] = Top();
        return;
      }
      case kBinGet:
        return PushMemo(Number(1));
      case kLongBinGet:
        return PushMemo(Number(4));
      case kGlobal: {
        const std::string module = Line();
        return PushGlobal(module + "." + Line());
      }
      case kStackGlobal: {
        const std::string name = Pop(Kind::kText)->text;
        return PushGlobal(Pop(Kind::kText)->text + "." + name);
      }
      case kBinPersId:
        return PushStorage(*Pop(Kind::kTuple));
      case kReduce: {
        const PickleValue* arguments = Pop(Kind::kTuple);
        return Call(Pop(Kind::kGlobal)->text, arguments->items);
      }
      case kNewObj: {
        const PickleValue* arguments = Pop(Kind::kTuple);
        const std::string name = Pop(Kind::kGlobal)->text;
        if (!IsModule(name) || !arguments->items.empty()) {
          throw Refused("makes a '" + Shown(name) + "'");
        }
        return PushNew({Kind::kModule});
      }
      case kBuild:
        return Build();
      default:
        throw Refused("uses pickle opcode " + std::to_string(opcode) + " at byte " +
                      std::to_string(at_ - 1) + ", which no state dict needs");
    }
  }

  int64_t Long(uint64_t size) {
    if (size > 8) throw Refused("holds a whole number of more than 64 bits");
    const uint64_t value = Number(size);
    if (size == 0 || size == 8) return static_cast<int64_t>(value);
    const auto unused = static_cast<int>(64 - 8 * size);  // carries the sign up
    return static_cast<int64_t>(value << unused) >> unused;
  }

  void PushText(uint64_t size) {
    PickleValue value{Kind::kText};
    value.text = std::string(Bytes(size));
    PushNew(std::move(value));
  }

  void PushTuple(int size) {
    PickleValue tuple{Kind::kTuple};
    tuple.items.resize(static_cast<size_t>(size));
    for (size_t i = tuple.items.size(); i-- > 0;) tuple.items[i] = Pop();
    PushNew(std::move(tuple));
  }

  void PushMemo(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) throw Torn();
    Push(found->second);
  }

  void PushGlobal(const std::string& name) {
    const bool welcome = IsKnown(name) || (modules_ && (IsModule(name) || IsListBuilder(name)));
    if (!welcome) throw Refused("asks for '" + Shown(name) + "'");
    PickleValue value{Kind::kGlobal};
    value.text = name;
    PushNew(std::move(value));
  }

  void Extend(Kind kind, const std::vector<PickleValue*>& items) {
    PickleValue* target = Pop(kind);
    target->items.insert(target->items.end(), items.begin(), items.end());
    Push(target);
  }

  // ("storage", storage class, name in the archive, device, elements)
  void PushStorage(const PickleValue& id) {
    const auto& parts = id.items;
    if (parts.size() != 5 || parts[0]->kind != Kind::kText || parts[0]->text != "storage" ||
        parts[1]->kind != Kind::kGlobal || parts[2]->kind != Kind::kText ||
        parts[4]->kind != Kind::kInt || parts[4]->integer < 0) {
      throw Refused("refers to something outside that is no storage");
    }
    const auto type = StorageTypes().find(parts[1]->text);
    if (type == StorageTypes().end()) throw Refused("has a storage of " + Shown(parts[1]->text));
    PickleValue value{Kind::kStorage, parts[4]->integer};
    value.text = parts[2]->text;
    value.type = type->second;
    PushNew(std::move(value));
  }

  void Call(const std::string& name, const std::vector<PickleValue*>& arguments) {
    if (name == "collections.OrderedDict" && arguments.empty()) return PushNew({Kind::kDict});
    if (name == "torch._utils._rebuild_tensor_v2") return PushTensor(arguments);
    if (name == "torch._utils._rebuild_parameter" && arguments.size() == 3 &&
        arguments[0]->kind == Kind::kTensor) {
      return Push(arguments[0]);
    }
    if (IsListBuilder(name) && arguments.size() == 1 && arguments[0]->kind == Kind::kList) {
      return Push(arguments[0]);
    }
    throw Refused("calls '" + Shown(name) + "'");
  }

  // (storage, first element, shape, strides, requires_grad, hooks)
  void PushTensor(const std::vector<PickleValue*>& arguments) {
    if (arguments.size() < 6 || arguments.size() > 7 || arguments[0]->kind != Kind::kStorage ||
        arguments[1]->kind != Kind::kInt || arguments[1]->integer < 0) {
      throw Torn();
    }
    PickleValue tensor{Kind::kTensor, arguments[1]->integer};
    tensor.type = arguments[0]->type;
    tensor.items = {arguments[0]};
    tensor.shape = Sizes(*arguments[2]);
    tensor.strides = Sizes(*arguments[3]);
    if (tensor.shape.size() != tensor.strides.size()) throw Torn();
    PushNew(std::move(tensor));
  }

  std::vector<int64_t> Sizes(const PickleValue& tuple) const {
    if (tuple.kind != Kind::kTuple || tuple.items.size() > kMostDimensions) throw Torn();
    std::vector<int64_t> sizes;
    for (const PickleValue* item : tuple.items) {
      if (item->kind != Kind::kInt || item->integer < 0) throw Torn();
      sizes.push_back(item->integer);
    }
    return sizes;
  }

  void Build() {
    const PickleValue* state = Pop(Kind::kDict);
    PickleValue* target = Pop();
    Push(target);
    if (target->kind == Kind::kModule && target->items.empty()) {
      copied_ += state->items.size();  // one state may be set a million times
      if (copied_ > kMostValues) throw Refused("holds too many values for a model");
      target->items = state->items;
    } else if (target->kind != Kind::kDict) {  // a dictionary's attributes: torch's _metadata
      throw Refused("sets the state of something that is no module");
    }
  }

  Pickle& pickle_;
  std::string_view bytes_;
  const std::string& where_;
  bool modules_;
  size_t at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
  size_t copied_ = 0;
};

Pickle::Pickle(const std::string& bytes, const std::string& where, bool modules) {
  root_ = Unpickler(this, bytes, where, modules).Run();
}

const PickleValue* FindKey(const PickleValue& dict, const std::string& key) {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    if (dict.items[i]->kind == Kind::kText && dict.items[i]->text == key) return dict.items[i + 1];
  }
  return nullptr;
}

}  // namespace contrail::model::files
