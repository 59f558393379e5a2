// Classifies slices from a pipe: one JSON object a slice, a line each.
//
//   python3 classify.py scans/ --raw | build/classify preparation.engine model.engine model.txt
//   ffmpeg -i film.mp4 -f image2pipe -c:v pgm - | build/classify preparation.engine model.engine model.txt
//
// A slice is a binary PGM picture (P5, grey values 0 to 255) of any size; one follows the other, and
// they are numbered from 0. Preparing them is not written again here: preparation.engine does it, a
// graph that goes with the model, and the model takes its output where it lies on the GPU. model.txt
// names the model, the classes in the order of the probabilities, and the probability from which an
// answer is confident.
//
// TensorRT 8.2 (Jetson Nano) to 11: from 8.5 on inputs and outputs go by name, before by number.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define BY_NAME (NV_TENSORRT_MAJOR > 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 5))

namespace {

constexpr int kLeastSide = 32;
constexpr std::size_t kMostPixels = 1u << 26;

class Logger : public nvinfer1::ILogger {
    void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
        if (severity <= Severity::kERROR) std::cerr << message << '\n';
    }
};

void check(cudaError_t status, char const* what) {
    if (status != cudaSuccess)
        throw std::runtime_error(std::string("CUDA failed in ") + what + ": " + cudaGetErrorString(status));
}

struct Model {
    std::string title;
    bool has_ood_threshold = false;
    double ood_threshold = 0;
    std::vector<std::string> classes;
    std::vector<double> confident;  // from which probability, class by class
};

Model read_model(std::string const& path) {
    auto const fail = [&] { throw std::runtime_error(path + ": missing or damaged: copy the bundle again"); };
    auto const number = [&](std::string const& text) {
        char* end = nullptr;
        double const value = std::strtod(text.c_str(), &end);
        if (end == text.c_str() || *end != 0 || std::isnan(value)) fail();
        return value;
    };
    std::ifstream file(path);
    Model model;
    std::string key, value;
    while (file >> key && std::getline(file >> std::ws, value)) {
        if (key == "title") model.title = value;
        if (key == "class") model.classes.push_back(value);
        if (key == "confident") model.confident.push_back(number(value));
        if (key == "ood_threshold") {
            model.has_ood_threshold = true;
            model.ood_threshold = number(value);
        }
    }
    if (model.title.empty() || model.classes.size() < 2 || model.confident.size() != model.classes.size()) fail();
    return model;
}

std::vector<char> read_file(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> content{std::istreambuf_iterator<char>(file), {}};
    if (content.empty()) throw std::runtime_error("no " + path + " here: run ./build_engine.sh on this board");
    return content;
}

struct Port {
    std::string name;
    nvinfer1::Dims shape;
    std::size_t count = 1;
    void* address = nullptr;
    bool shared = false;
};

class Engine {
public:
    // Inputs that have the name of an output of the engine before are taken where that leaves them.
    Engine(std::string const& path, cudaStream_t stream, Engine* before = nullptr) : path_(path), stream_(stream) {
        auto const blob = read_file(path);
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(blob.data(), blob.size()));
        if (engine_) context_.reset(engine_->createExecutionContext());
        if (!context_) throw std::runtime_error("TensorRT cannot read " + path + ": run ./build_engine.sh on this board");
#if BY_NAME
        for (int32_t number = 0; number < engine_->getNbIOTensors(); ++number) {
            char const* name = engine_->getIOTensorName(number);
            auto const largest = nvinfer1::OptProfileSelector::kMAX;
            auto shape = engine_->getTensorShape(name);
            if (is_open(shape)) shape = engine_->getProfileShape(name, 0, largest);
            add_port(name, shape, engine_->getTensorDataType(name), before);
            if (!context_->setTensorAddress(name, ports_.back().address))
                throw std::runtime_error(std::string("TensorRT does not take ") + name);
        }
#else
        for (int32_t number = 0; number < engine_->getNbBindings(); ++number) {
            auto const largest = nvinfer1::OptProfileSelector::kMAX;
            auto shape = engine_->getBindingDimensions(number);
            if (is_open(shape)) shape = engine_->getProfileDimensions(number, 0, largest);
            add_port(engine_->getBindingName(number), shape, engine_->getBindingDataType(number), before);
        }
#endif
    }

    ~Engine() {
        for (auto& port : ports_)
            if (!port.shared) cudaFree(port.address);
    }

    Engine(Engine const&) = delete;
    Engine& operator=(Engine const&) = delete;

    // The input or output of that name; null where there is none.
    Port* find(std::string const& name) {
        for (auto& port : ports_)
            if (port.name == name) return &port;
        return nullptr;
    }

    Port& port(std::string const& name) {
        if (auto* const found = find(name)) return *found;
        throw std::runtime_error(path_ + " has no " + name + ": run ./build_engine.sh on this board");
    }

    // Hands over a picture, whose size the engine leaves open.
    void send(std::string const& name, int height, int width, std::vector<float> const& values) {
        auto& entry = port(name);
        nvinfer1::Dims shape = entry.shape;
        shape.d[1] = height;
        shape.d[2] = width;
#if BY_NAME
        bool const fits = values.size() <= entry.count && context_->setInputShape(name.c_str(), shape);
#else
        auto const number = static_cast<int32_t>(&entry - ports_.data());
        bool const fits = values.size() <= entry.count && context_->setBindingDimensions(number, shape);
#endif
        if (!fits)
            throw std::runtime_error(path_ + " takes no picture of " + std::to_string(width) + " x " +
                                     std::to_string(height) + " pixels: at most " + std::to_string(entry.shape.d[2]) +
                                     " x " + std::to_string(entry.shape.d[1]));
        check(cudaMemcpyAsync(entry.address, values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice, stream_),
              "cudaMemcpyAsync");
    }

    void run() {
#if BY_NAME
        bool const good = context_->enqueueV3(stream_);
#else
        std::vector<void*> addresses;
        for (auto& port : ports_) addresses.push_back(port.address);
        bool const good = context_->enqueueV2(addresses.data(), stream_, nullptr);
#endif
        if (!good) throw std::runtime_error("TensorRT could not run " + path_);
    }

    std::vector<float> fetch(std::string const& name) {
        auto& from = port(name);
        std::vector<float> values(from.count);
        check(cudaMemcpyAsync(values.data(), from.address, from.count * sizeof(float), cudaMemcpyDeviceToHost, stream_),
              "cudaMemcpyAsync");
        check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
        return values;
    }

private:
    static bool is_open(nvinfer1::Dims const& shape) {
        return std::any_of(shape.d, shape.d + shape.nbDims, [](int64_t side) { return side < 0; });
    }

    void add_port(char const* name, nvinfer1::Dims const& shape, nvinfer1::DataType type, Engine* before) {
        if (type != nvinfer1::DataType::kFLOAT)
            throw std::runtime_error(std::string(name) + " is not of 32-bit floats");
        Port port;
        port.name = name;
        port.shape = shape;
        for (int32_t side = 0; side < shape.nbDims; ++side) port.count *= static_cast<std::size_t>(shape.d[side]);
        auto* const given = before ? before->find(name) : nullptr;
        port.shared = given != nullptr;
        if (given && given->count != port.count)
            throw std::runtime_error(path_ + " is of another model: run ./build_engine.sh on this board");
        if (given)
            port.address = given->address;
        else
            check(cudaMalloc(&port.address, port.count * sizeof(float)), "cudaMalloc");
        ports_.push_back(port);
    }

    std::string path_;
    cudaStream_t stream_;
    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::vector<Port> ports_;
};

struct Stream {
    cudaStream_t handle = nullptr;
    Stream() { check(cudaStreamCreate(&handle), "cudaStreamCreate"); }
    ~Stream() { cudaStreamDestroy(handle); }
    Stream(Stream const&) = delete;
    Stream& operator=(Stream const&) = delete;
};

struct Frame {
    int height = 0, width = 0;
    std::vector<unsigned char> grey;
};

// Reads the next PGM picture; false where none follows.
bool read_frame(std::istream& in, long number, Frame& frame) {
    auto const fail = [&](std::string const& why) {
        throw std::runtime_error("frame " + std::to_string(number) + " " + why);
    };
    std::string magic;
    if (!(in >> magic)) return false;
    int sides[3] = {0, 0, 0};
    for (int& side : sides) {
        while ((in >> std::ws).peek() == '#') in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
        in >> side;
    }
    if (magic != "P5" || !in || sides[0] < 1 || sides[1] < 1 || sides[2] != 255)
        fail("is no binary PGM picture of 8 bits (P5)");
    in.get();
    frame.width = sides[0];
    frame.height = sides[1];
    std::size_t const count = static_cast<std::size_t>(frame.width) * static_cast<std::size_t>(frame.height);
    if (count > kMostPixels) fail("has too many pixels");
    if (std::min(frame.width, frame.height) < kLeastSide)
        fail("has too few pixels (at least " + std::to_string(kLeastSide) + " a side)");
    frame.grey.resize(count);
    in.read(reinterpret_cast<char*>(frame.grey.data()), static_cast<std::streamsize>(count));
    if (static_cast<std::size_t>(in.gcount()) != count)
        fail("ends too early: " + std::to_string(count) + " bytes are a frame");
    return true;
}

// Why there is nothing to classify; `images/suitability.py` says the same in Python.
std::string why_unsuitable(Frame const& frame) {
    bool there[256] = {};
    for (unsigned char const value : frame.grey) there[value] = true;
    auto const range = std::minmax_element(frame.grey.begin(), frame.grey.end());
    auto const values = std::count(there, there + 256, true);
    if (*range.second - *range.first < 8) return "a blank slice: nothing stands out from the background";
    if (values <= 4) return "only " + std::to_string(values) + " different grey values: a mask or a drawing, not a scan";
    return "";
}

std::string plain_name(std::string const& label) { return label == "notumor" ? "no tumour" : label; }

std::string number(char const* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

// What is made of the network's outputs; `inference/decision.py` says the same in Python, and
// `tests/inference/decisions.json` holds both to it.
struct Decision {
    bool supported = false;
    std::size_t label = 0;
    std::string verdict = "unsupported";
    std::string reason;
};

Decision unsupported(std::string const& reason) {
    Decision decision;
    decision.reason = reason;
    return decision;
}

Decision decide(Model const& model, std::vector<float> const& probabilities, float const* ood_score) {
    Decision decision;
    bool finite = !ood_score || std::isfinite(*ood_score);
    for (float const value : probabilities) finite = finite && std::isfinite(value);
    if (!finite) return unsupported("the network's outputs are not numbers (NaN or infinity)");
    if (ood_score && model.has_ood_threshold && *ood_score > model.ood_threshold)
        return unsupported("unlike the brain MRI slices that the model learned from");
    std::vector<std::size_t> order(probabilities.size());
    for (std::size_t index = 0; index < order.size(); ++index) order[index] = index;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return probabilities[a] > probabilities[b]; });
    auto const rival = [&](std::size_t index) {
        return plain_name(model.classes[index]) + " (" + number("%.0f", 100.0 * probabilities[index]) + " %)";
    };
    double const limit = model.confident[order[0]];
    bool const confident = probabilities[order[0]] >= limit;
    decision.supported = true;
    decision.label = order[0];
    decision.verdict = confident ? "confident" : "uncertain";
    if (confident) return decision;
    if (probabilities[order[1]] < 0.1 && limit >= 1)
        decision.reason = plain_name(model.classes[order[0]]) + " is never called confident";
    else if (probabilities[order[1]] < 0.1)
        decision.reason = plain_name(model.classes[order[0]]) + " is confident from " + number("%.1f", 100 * limit) + " %";
    else
        decision.reason = "between " + rival(order[0]) + " and " + rival(order[1]);
    return decision;
}

// One slice's answer, as `tumorscope predict --jsonl` writes it.
void write_answer(Model const& model, std::vector<float> const& probabilities, Decision const& decision, long frame,
                  double milliseconds) {
    std::cout << "{\"path\": \"-\", \"slice\": " << frame;
    if (decision.supported) {
        std::cout << ", \"label\": \"" << model.classes[decision.label]
                  << "\", \"probability\": " << number("%.6f", probabilities[decision.label]) << ", \"probabilities\": {";
        for (std::size_t index = 0; index < probabilities.size(); ++index)
            std::cout << (index ? ", \"" : "\"") << model.classes[index]
                      << "\": " << number("%.6f", probabilities[index]);
        std::cout << '}';
    } else {
        std::cout << ", \"label\": null, \"probability\": null, \"probabilities\": null";
    }
    std::cout << ", \"verdict\": \"" << decision.verdict << "\", \"reason\": \"" << decision.reason
              << "\", \"model\": \"" << model.title << "\", \"milliseconds\": " << number("%.2f", milliseconds) << "}"
              << std::endl;
    if (!std::cout) throw std::runtime_error("answers cannot be written: check where they go, and the space there");
}

void classify(std::string const& preparation_path, std::string const& engine_path, std::string const& model_path) {
    auto const model = read_model(model_path);
    Stream stream;
    Engine preparation(preparation_path, stream.handle);
    Engine network(engine_path, stream.handle, &preparation);
    if (!network.port("grey").shared || network.port("probabilities").count != model.classes.size())
        throw std::runtime_error("the engines are of another model: run ./build_engine.sh on this board");
    Frame frame;
    for (long count = 0; read_frame(std::cin, count, frame); ++count) {
        auto const reason = why_unsuitable(frame);
        if (!reason.empty()) {
            write_answer(model, {}, unsupported(reason), count, 0);
            continue;
        }
        auto const began = std::chrono::steady_clock::now();
        preparation.send("pixels", frame.height, frame.width, {frame.grey.begin(), frame.grey.end()});
        preparation.run();
        network.run();
        auto const probabilities = network.fetch("probabilities");
        bool const has_score = network.find("ood_score") != nullptr;
        auto const ood_score = has_score ? network.fetch("ood_score") : std::vector<float>();
        std::chrono::duration<double, std::milli> const took = std::chrono::steady_clock::now() - began;
        auto const decision = decide(model, probabilities, has_score ? ood_score.data() : nullptr);
        write_answer(model, probabilities, decision, count, took.count());
    }
}

}  // namespace

int main(int count, char** words) {
    if (count != 4) {
        std::cerr << "usage: python3 classify.py PATH --raw | classify preparation.engine model.engine model.txt\n"
                     "Research use only: not a medical device, not for diagnosis.\n";
        return 2;
    }
    try {
        std::ios::sync_with_stdio(false);
        classify(words[1], words[2], words[3]);
        std::cerr << "Research use only: not a medical device, not for diagnosis.\n";
    } catch (std::exception const& error) {
        std::cerr << "classify: " << error.what() << '\n';
        return 2;
    }
    return 0;
}
