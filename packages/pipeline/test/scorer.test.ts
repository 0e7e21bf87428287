import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FEATURE_NAMES } from '../src/feature-names.ts'
import { defaultModel, loadScorer } from '../src/scorer.ts'

const WIDTH = FEATURE_NAMES.length
const SESSION = [2, 80.5, 0, 0, 31, 1200.25, 0, 11, 0, 1, 2]

describe('the model that ships', () => {
  it('says what it is and gives a probability for each row', async () => {
    await using scorer = await loadScorer()
    expect(scorer.id).toBe('purchase-intent')
    expect(scorer.version).toMatch(/^\d+\.\d+\.\d+$/)
    expect(scorer.features).toEqual(FEATURE_NAMES)
    const scores = await scorer.score(new Float32Array([...SESSION, ...new Array(WIDTH).fill(0)]), 2)
    expect(scores).toHaveLength(2)
    for (const score of scores) expect(score > 0 && score < 1).toBe(true)
    expect(scores[0]).not.toBe(scores[1])
  })

  it('is loaded by its model.json as well as by its directory', async () => {
    await using scorer = await loadScorer(join(defaultModel, 'model.json'))
    expect(scorer.id).toBe('purchase-intent')
  })

  it('gives a row the same bits whatever it is batched with', async () => {
    await using scorer = await loadScorer()
    const count = 600
    const rows = Float32Array.from(
      { length: count * WIDTH },
      (_, index) => ((index * 7919) % 1009) / (1 + (index % 11)),
    )
    const together = await scorer.score(rows, count)
    for (const size of [1, 2, 3, 7, 8, 15, 16, 17, 64, 100]) {
      const calls: Promise<Float32Array>[] = []
      for (let at = 0; at + size <= count; at += size)
        calls.push(scorer.score(rows.subarray(at * WIDTH, (at + size) * WIDTH), size))
      const apart = (await Promise.all(calls)).flatMap(scores => [...scores])
      expect(apart).toEqual([...together.subarray(0, apart.length)])
    }
  })

  it('lets the event loop turn while it scores', async () => {
    await using scorer = await loadScorer()
    const count = 100_000
    let scored = false
    let turns = 0
    const done = scorer.score(new Float32Array(count * WIDTH).fill(3), count).then(() => {
      scored = true
    })
    while (!scored) {
      turns++
      await new Promise(resolve => setImmediate(resolve))
    }
    await done
    expect(turns).toBeGreaterThan(10)
  })

  it('takes no rows at all', async () => {
    await using scorer = await loadScorer()
    expect(await scorer.score(new Float32Array(), 0)).toHaveLength(0)
  })

  it('refuses rows of another length than it was told', async () => {
    await using scorer = await loadScorer()
    await expect(scorer.score(new Float32Array(WIDTH + 1), 1)).rejects.toMatchObject({ code: 'INVALID' })
    await expect(scorer.score(new Float32Array(WIDTH), 2)).rejects.toThrow('2 rows of 11 features take 22 numbers')
    await expect(scorer.score(new Float32Array(WIDTH), 0.5)).rejects.toMatchObject({ code: 'INVALID' })
  })

  it('rejects what is under way and what comes after it was unloaded', async () => {
    const scorer = await loadScorer()
    const calls = Array.from({ length: 20 }, () => scorer.score(new Float32Array(WIDTH * 20_000), 20_000))
    const settled = Promise.allSettled(calls)
    await scorer[Symbol.asyncDispose]()
    await scorer[Symbol.asyncDispose]()
    expect((await settled).some(each => each.status === 'rejected' && each.reason.code === 'CLOSED')).toBe(true)
    await expect(scorer.score(new Float32Array(WIDTH), 1)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('a process that scores', () => {
  const run = (script: string) => {
    const source = `import { loadScorer } from ${JSON.stringify(new URL('../src/scorer.ts', import.meta.url).href)}
      const scorer = await loadScorer()
      const rows = new Float32Array(64 * ${WIDTH})
      const large = new Float32Array(20_000 * ${WIDTH})
      const forever = async () => { for (;;) await scorer.score(large, 20_000) }
      ${script}`
    const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    return { status, signal, stderr }
  }

  it('ends by itself when it has nothing left to score', () => {
    expect(run('await scorer.score(rows, 64)')).toEqual({ status: 0, signal: null, stderr: '' })
  })

  it('stays until its last scores are there', () => {
    expect(run('scorer.score(rows, 64).then(() => process.exit(4))')).toMatchObject({ status: 4, signal: null })
  })

  it('can exit in the middle of a batch, with the code it means to', () => {
    for (let turns = 1; turns <= 8; turns++) {
      const exit = `for (let call = 0; call < 8; call++) forever()
        for (let turn = 0; turn < ${turns * 50}; turn++) await new Promise(resolve => setImmediate(resolve))
        process.exit(3)`
      expect(run(exit)).toEqual({ status: 3, signal: null, stderr: '' })
    }
  })

  it('can unload the model and load it again', () => {
    const again =
      'await scorer[Symbol.asyncDispose](); process.exit((await (await loadScorer()).score(rows, 64)).length)'
    expect(run(again)).toEqual({ status: 64, signal: null, stderr: '' })
  })
})

describe('a model that cannot be used is refused at start', () => {
  let directory: string
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'weft-model-'))
  })
  afterAll(() => rm(directory, { recursive: true, force: true }))

  async function changed(change: (description: Record<string, unknown>) => void, model?: Uint8Array): Promise<string> {
    const path = await mkdtemp(join(directory, 'm-'))
    await cp(join(defaultModel, 'purchase-intent.onnx'), join(path, 'purchase-intent.onnx'))
    const description = JSON.parse(await readFile(join(defaultModel, 'model.json'), 'utf8'))
    if (model) {
      await writeFile(join(path, 'purchase-intent.onnx'), model)
      description.sha256 = createHash('sha256').update(model).digest('hex')
    }
    change(description)
    await writeFile(join(path, 'model.json'), JSON.stringify(description))
    return path
  }
  const asItIs = () => {}

  it('because there is none', async () => {
    const path = join(directory, 'nowhere')
    await expect(loadScorer(path)).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: `${join(path, 'model.json')} is missing: the model cannot be loaded without it`,
    })
  })

  it('because the ONNX file is missing', async () => {
    const path = await changed(description => {
      description.file = 'gone.onnx'
    })
    await expect(loadScorer(path)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(loadScorer(path)).rejects.toThrow(/gone\.onnx is missing: the model purchase-intent 1\.0\.0/)
  })

  it('because model.json is not JSON, or lacks something', async () => {
    const path = await changed(asItIs)
    await writeFile(join(path, 'model.json'), '{')
    await expect(loadScorer(path)).rejects.toThrow(/model\.json is not JSON/)
    await writeFile(join(path, 'model.json'), 'null')
    await expect(loadScorer(path)).rejects.toThrow(/"id" must be a string/)
    const without = await changed(description => {
      description.features = [1]
    })
    await expect(loadScorer(without)).rejects.toThrow(/"features" must be a list of names/)
  })

  it('because the file is another than model.json describes', async () => {
    const path = await changed(description => {
      description.sha256 = '0'.repeat(64)
    })
    await expect(loadScorer(path)).rejects.toMatchObject({ code: 'INVALID' })
    await expect(loadScorer(path)).rejects.toThrow(/is not the file that .* describes: its SHA-256 is/)
  })

  it('because its features come in another order', async () => {
    const path = await changed(description => {
      const features = description.features as string[]
      features.reverse()
    })
    await expect(loadScorer(path)).rejects.toThrow(
      /feature 1 of the model is "traffic_source" where the pipeline computes "administrative_pages"/,
    )
    const fewer = await changed(description => {
      description.features = ['month']
    })
    await expect(loadScorer(fewer)).rejects.toThrow(/the model takes 1 features, the pipeline computes 11/)
  })

  it('because the ONNX file is broken', async () => {
    const whole = await readFile(join(defaultModel, 'purchase-intent.onnx'))
    for (const model of [whole.subarray(0, whole.length / 2), Buffer.from('not a model'), Buffer.alloc(0)]) {
      const path = await changed(asItIs, model)
      await expect(loadScorer(path)).rejects.toMatchObject({ code: 'INVALID', retryable: false })
      await expect(loadScorer(path)).rejects.toThrow(/purchase-intent\.onnx cannot be used: /)
    }
  })

  it('because the graph takes another number of columns', async () => {
    const features = [...FEATURE_NAMES, 'page_value']
    const path = await changed(description => {
      description.features = features
    })
    await expect(loadScorer(path, features)).rejects.toThrow(
      /it must take one float32 tensor \[n, 12\], and takes float32 \[n, 11\]/,
    )
  })
})
