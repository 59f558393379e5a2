// Classifies prepared slices from a pipe: one JSON object a slice, a line each.
//
//   python3 classify.py scans/ --raw | build/classify model.engine model.txt
//
// A frame is side x side bytes, grey values 0 to 255, as `classify.py --raw` prepares it: there is
// one preparation, and it is not written again here. Frames are numbered from 0 in the order in
// which they come. model.txt names the model, the classes in the order of the probabilities, and
// the probability from which an answer is confident.
//
// TensorRT 8.2 (Jetson Nano) to 10: from 8.5 on inputs and outputs go by name, before by number.

#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#define BY_NAME (NV_TENSORRT_MAJOR > 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 5))

namespace {

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
    std::ifstream file(path);
    Model model;
    std::string key, value;
    while (file >> key && std::getline(file >> std::ws, value)) {
        if (key == "title") model.title = value;
        if (key == "class") model.classes.push_back(value);
        if (key == "confident") model.confident.push_back(std::stod(value));
        if (key == "ood_threshold") {
            model.has_ood_threshold = true;
            model.ood_threshold = std::stod(value);
        }
    }
    if (model.title.empty() || model.classes.size() < 2 || model.confident.size() != model.classes.size())
        throw std::runtime_error(path + ": missing or damaged: copy the bundle again");
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
    std::vector<float> values;
    void* address = nullptr;
};

class Engine {
public:
    explicit Engine(std::string const& path) {
        auto const blob = read_file(path);
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(blob.data(), blob.size()));
        if (engine_) context_.reset(engine_->createExecutionContext());
        if (!context_) throw std::runtime_error("TensorRT cannot read " + path + ": run ./build_engine.sh on this board");
        check(cudaStreamCreate(&stream_), "cudaStreamCreate");
#if BY_NAME
        for (int32_t number = 0; number < engine_->getNbIOTensors(); ++number) {
            char const* name = engine_->getIOTensorName(number);
            add_port(name, engine_->getTensorShape(name), engine_->getTensorDataType(name));
            if (!context_->setTensorAddress(name, ports_.back().address))
                throw std::runtime_error(std::string("TensorRT does not take ") + name);
        }
#else
        for (int32_t number = 0; number < engine_->getNbBindings(); ++number)
            add_port(engine_->getBindingName(number), engine_->getBindingDimensions(number),
                     engine_->getBindingDataType(number));
#endif
    }

    ~Engine() {
        for (auto& port : ports_) cudaFree(port.address);
        cudaStreamDestroy(stream_);
    }

    Engine(Engine const&) = delete;
    Engine& operator=(Engine const&) = delete;

    // Values of the input or output of that name; null where there is none.
    std::vector<float>* find(std::string const& name) {
        for (auto& port : ports_)
            if (port.name == name) return &port.values;
        return nullptr;
    }

    std::vector<float>& values(std::string const& name) {
        if (auto* const found = find(name)) return *found;
        throw std::runtime_error("the engine has no " + name + ": run ./build_engine.sh on this board");
    }

    // From the values of `grey` to those of the outputs.
    void run() {
        for (auto& port : ports_)
            if (port.name == "grey") copy(port.address, port.values.data(), port, cudaMemcpyHostToDevice);
#if BY_NAME
        bool const good = context_->enqueueV3(stream_);
#else
        std::vector<void*> addresses;
        for (auto& port : ports_) addresses.push_back(port.address);
        bool const good = context_->enqueueV2(addresses.data(), stream_, nullptr);
#endif
        if (!good) throw std::runtime_error("TensorRT could not run the engine");
        for (auto& port : ports_)
            if (port.name != "grey") copy(port.values.data(), port.address, port, cudaMemcpyDeviceToHost);
        check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
    }

private:
    void add_port(char const* name, nvinfer1::Dims const& shape, nvinfer1::DataType type) {
        if (type != nvinfer1::DataType::kFLOAT)
            throw std::runtime_error(std::string(name) + " is not of 32-bit floats");
        std::size_t count = 1;
        for (int32_t side = 0; side < shape.nbDims; ++side) count *= static_cast<std::size_t>(shape.d[side]);
        ports_.push_back({name, std::vector<float>(count), nullptr});
        check(cudaMalloc(&ports_.back().address, count * sizeof(float)), "cudaMalloc");
    }

    void copy(void* to, void const* from, Port const& port, cudaMemcpyKind kind) {
        check(cudaMemcpyAsync(to, from, port.values.size() * sizeof(float), kind, stream_), "cudaMemcpyAsync");
    }

    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    cudaStream_t stream_ = nullptr;
    std::vector<Port> ports_;
};

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

Decision decide(Model const& model, std::vector<float> const& probabilities, float const* ood_score) {
    Decision decision;
    bool finite = !ood_score || std::isfinite(*ood_score);
    for (float const value : probabilities) finite = finite && std::isfinite(value);
    if (!finite) {
        decision.reason = "the network's outputs are not numbers (NaN or infinity)";
        return decision;
    }
    if (ood_score && model.has_ood_threshold && *ood_score > model.ood_threshold) {
        decision.reason = "unlike the brain MRI slices that the model learned from";
        return decision;
    }
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
    if (probabilities[order[1]] < 0.1)
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
}

void classify(std::string const& engine_path, std::string const& model_path) {
    auto const model = read_model(model_path);
    Engine engine(engine_path);
    auto& grey = engine.values("grey");
    auto& probabilities = engine.values("probabilities");
    auto* const ood_score = engine.find("ood_score");
    if (probabilities.size() != model.classes.size())
        throw std::runtime_error("the engine is of another model: run ./build_engine.sh on this board");
    std::vector<unsigned char> frame(grey.size());
    for (long count = 0;; ++count) {
        std::cin.read(reinterpret_cast<char*>(frame.data()), static_cast<std::streamsize>(frame.size()));
        if (std::cin.gcount() == 0) return;
        if (static_cast<std::size_t>(std::cin.gcount()) != frame.size())
            throw std::runtime_error("frame " + std::to_string(count) + " ends too early: " +
                                     std::to_string(frame.size()) + " bytes are a frame");
        std::copy(frame.begin(), frame.end(), grey.begin());
        auto const began = std::chrono::steady_clock::now();
        engine.run();
        std::chrono::duration<double, std::milli> const took = std::chrono::steady_clock::now() - began;
        auto const decision = decide(model, probabilities, ood_score ? ood_score->data() : nullptr);
        write_answer(model, probabilities, decision, count, took.count());
    }
}

}  // namespace

int main(int count, char** words) {
    if (count != 3) {
        std::cerr << "usage: python3 classify.py PATH --raw | classify model.engine model.txt\n"
                     "Research use only: not a medical device, not for diagnosis.\n";
        return 2;
    }
    try {
        std::ios::sync_with_stdio(false);
        classify(words[1], words[2]);
        std::cerr << "Research use only: not a medical device, not for diagnosis.\n";
    } catch (std::exception const& error) {
        std::cerr << "classify: " << error.what() << '\n';
        return 2;
    }
    return 0;
}
