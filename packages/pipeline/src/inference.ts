import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { WeftError } from '@weft/transport'

/** A batch goes to the thread with this many rows at most, though a single call may have more. */
const BATCH_ROWS = 1_024

export interface Inference extends AsyncDisposable {
  run(rows: Float32Array, count: number): Promise<Float32Array>
}

export type ToThread = { readonly rows: Float32Array; readonly count: number } | 'end'
export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly reason: string; readonly cause?: unknown }
  | { readonly kind: 'scores'; readonly scores: Float32Array }
  | { readonly kind: 'failed'; readonly cause: unknown }

/** What the two threads share: whether a batch is being scored, and whether none may be begun any more. */
export const GATE = { running: 0, closed: 1 } as const

interface Call {
  readonly rows: Float32Array
  readonly count: number
  readonly resolve: (scores: Float32Array) => void
  readonly reject: (error: WeftError) => void
}

/**
 * ONNX Runtime on a thread of its own, since its `run` holds the thread that calls it although it returns a promise.
 * The thread keeps the process alive only while it has work.
 */
export async function startInference(path: string, model: Uint8Array, width: number): Promise<Inference> {
  const gate = new Int32Array(new SharedArrayBuffer(8))
  // Of `node --input-type=module -e …` the flag would be the thread's too, and refuse its file.
  const execArgv = process.execArgv.filter(argument => !argument.startsWith('--input-type'))
  const workerData = { model, width, gate }
  const thread = new Worker(new URL('./inference-thread.ts', import.meta.url), { workerData, execArgv })
  await new Promise<void>((resolve, reject) => {
    const refuse = (reason: string, cause?: unknown) =>
      reject(new WeftError('INVALID', `${path} cannot be used: ${reason}`, { cause }))
    thread.once('message', (message: FromThread) => {
      if (message.kind === 'ready') resolve()
      else refuse(message.kind === 'refused' ? message.reason : 'the thread answered out of turn')
    })
    thread.once('error', cause => refuse('ONNX Runtime could not be started', cause))
    thread.once('exit', code => refuse(`ONNX Runtime's thread ended with code ${code}`))
  }).catch(async error => {
    await thread.terminate()
    throw error
  })
  thread.unref()
  return new InferenceThread(thread, gate, width)
}

class InferenceThread implements Inference {
  readonly #thread: Worker
  readonly #width: number
  readonly #leave: () => void
  #waiting: Call[] = []
  #running: Call[] = []
  #ended: WeftError | undefined

  constructor(thread: Worker, gate: Int32Array, width: number) {
    this.#thread = thread
    this.#width = width
    // The exit of a process cuts its threads, and ONNX Runtime aborts the process when it is cut within a batch.
    this.#leave = () => {
      Atomics.store(gate, GATE.closed, 1)
      Atomics.wait(gate, GATE.running, 1, 10_000)
    }
    process.once('exit', this.#leave)
    thread.on('message', (message: FromThread) => this.#settle(message))
    thread.on('error', cause => this.#end(new WeftError('UNAVAILABLE', 'the thread that scores has failed', { cause })))
    thread.on('exit', () => this.#end(new WeftError('UNAVAILABLE', 'the thread that scores has ended')))
  }

  run(rows: Float32Array, count: number): Promise<Float32Array> {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ rows, count, resolve, reject })
      if (this.#running.length === 0) this.#send()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#thread.threadId < 0) return
    this.#end(new WeftError('CLOSED', 'the model was unloaded'))
    this.#thread.ref()
    this.#thread.postMessage('end' satisfies ToThread)
    await once(this.#thread, 'exit')
  }

  #send(): void {
    let count = 0
    let calls = 0
    for (const call of this.#waiting) {
      if (calls > 0 && count + call.count > BATCH_ROWS) break
      count += call.count
      calls++
    }
    this.#running = this.#waiting.splice(0, calls)
    const rows = new Float32Array(count * this.#width)
    let at = 0
    for (const call of this.#running) {
      rows.set(call.rows, at)
      at += call.rows.length
    }
    this.#thread.ref()
    this.#thread.postMessage({ rows, count } satisfies ToThread, [rows.buffer])
  }

  #settle(message: FromThread): void {
    const settled = this.#running
    this.#running = []
    if (this.#waiting.length > 0) this.#send()
    else this.#thread.unref()
    let at = 0
    for (const call of settled) {
      if (message.kind === 'scores') call.resolve(message.scores.subarray(at, at + call.count))
      else call.reject(new WeftError('UNAVAILABLE', 'the model could not score a batch', { cause: message }))
      at += call.count
    }
  }

  #end(error: WeftError): void {
    this.#ended ??= error
    process.off('exit', this.#leave)
    for (const call of [...this.#running, ...this.#waiting]) call.reject(this.#ended)
    this.#running = []
    this.#waiting = []
  }
}
