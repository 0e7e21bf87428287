/** The thread behind inference.ts: answers each batch of rows with its scores, in order. */
import { parentPort, workerData } from 'node:worker_threads'
import type { InferenceSession, Tensor } from 'onnxruntime-node'
import { type FromThread, GATE, type ToThread } from './inference.ts'

const { model, width, gate } = workerData as { model: Uint8Array; width: number; gate: Int32Array }
const answer = (message: FromThread, transfer: ArrayBuffer[] = []) => parentPort?.postMessage(message, transfer)

try {
  const { default: onnx } = await import('onnxruntime-node')
  const session = await onnx.InferenceSession.create(model, {
    // More threads would add the trees' shares in another order, and a score would depend on its batch.
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 4,
  })
  const fault = shapeFault(session)
  if (fault) answer({ kind: 'refused', reason: fault })
  else {
    const [input, output] = [session.inputNames[0] as string, session.outputNames[0] as string]
    const run = async (rows: Float32Array, count: number) => {
      const results = await session.run({ [input]: new onnx.Tensor('float32', rows, [count, width]) })
      return (results[output] as Tensor).data as Float32Array<ArrayBuffer>
    }
    const trial = await run(new Float32Array(2 * width), 2)
    const wrong = trial.length !== 2 || trial.some(score => !(score >= 0 && score <= 1))
    if (wrong) answer({ kind: 'refused', reason: `it gives [${trial.join(', ')}] for two rows, not two probabilities` })
    else {
      parentPort?.on('message', async (message: ToThread) => {
        if (message === 'end') return parentPort?.close()
        Atomics.store(gate, GATE.running, 1)
        try {
          if (Atomics.load(gate, GATE.closed)) return
          const scores = await run(message.rows, message.count)
          answer({ kind: 'scores', scores }, [scores.buffer])
        } catch (cause) {
          answer({ kind: 'failed', cause })
        } finally {
          Atomics.store(gate, GATE.running, 0)
          Atomics.notify(gate, GATE.running)
        }
      })
      answer({ kind: 'ready' })
    }
  }
} catch (cause) {
  answer({ kind: 'refused', reason: cause instanceof Error ? cause.message : String(cause), cause })
}

function shapeFault({ inputMetadata, outputMetadata }: InferenceSession): string | undefined {
  const [input, output] = [inputMetadata[0], outputMetadata[0]]
  if (inputMetadata.length !== 1 || !input?.isTensor || input.type !== 'float32' || input.shape.at(-1) !== width)
    return `it must take one float32 tensor [n, ${width}], and takes ${describe(inputMetadata)}`
  if (outputMetadata.length !== 1 || !output?.isTensor || output.type !== 'float32' || output.shape.at(-1) !== 1)
    return `it must give one float32 tensor [n, 1], and gives ${describe(outputMetadata)}`
}

function describe(values: InferenceSession['inputMetadata']): string {
  return values.map(each => (each.isTensor ? `${each.type} [${each.shape.join(', ')}]` : 'no tensor')).join(' and ')
}
