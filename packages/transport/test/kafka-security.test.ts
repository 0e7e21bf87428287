import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createServer } from 'node:tls'
import { type Certificate, createAuthority, type KafkaServer, kafkaForTests } from '@weft/local/for-tests'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { bodyOf, contents, message } from '../src/conformance/observe.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { settingsOf } from '../src/kafka/url.ts'
import { DRIVERS } from './kafka-drivers.ts'

const server = await kafkaForTests(inject('servers'))

/** Both in one file, as `cert` and `key`. */
const pem = ({ key, cert }: Certificate) => key + cert

const cases = ({
  port,
  secure: { SASL_PLAINTEXT, SASL_SSL, SSL },
  user,
  certificates: { ca, client },
}: KafkaServer) => {
  let folder: string
  const file = (name: string) => path.join(folder, name)

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'weft-kafka-'))
    await writeFile(file('password'), `${user.password}\n`)
    await writeFile(file('wrong'), 'wrong')
    const strangers = await createAuthority('Strangers')
    await writeFile(file('strangers.pem'), strangers.cert)
    await writeFile(file('mallory.pem'), pem(await strangers.issue('mallory')))
    vi.stubEnv('WEFT_KAFKA_USER', user.name)
    vi.stubEnv('WEFT_KAFKA_PASSWORD', user.password)
  })
  afterAll(async () => {
    vi.unstubAllEnvs()
    await rm(folder, { recursive: true })
  })

  const mine = `cert=${client}&key=${client}`

  describe.for(DRIVERS)('by %s', ([driver, make]) => {
    test.for([
      ['SCRAM-SHA-512', () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-512`],
      ['SCRAM-SHA-256', () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-256`],
      [
        'a password in a file',
        () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-512&passwordFile=${file('password')}`,
      ],
      ['SCRAM-SHA-512 over TLS', () => `kafka+ssl://localhost:${SASL_SSL}?sasl=scram-sha-512&ca=${ca}`],
      ['PLAIN over TLS', () => `kafka+ssl://127.0.0.1:${SASL_SSL}?sasl=plain&ca=${ca}`],
      ['a client certificate', () => `kafka+ssl://127.0.0.1:${SSL}?ca=${ca}&${mine}`],
      ['the name that the certificate has', () => `kafka+ssl://127.0.0.1:${SSL}?ca=${ca}&${mine}&serverName=localhost`],
    ] as const)('comes in with %s', async ([, url]) => {
      await using transport = await openKafka(`${url()}&driver=${driver}`)
      const topic = { name: `secret-${crypto.randomUUID()}` }
      await transport.admin.ensure([{ topic, partitions: 1 }])
      await transport.append(topic, [message('k', 'kept')])
      expect((await contents(transport, topic)).map(bodyOf)).toEqual(['kept'])
    })

    // What is refused will be refused again: DENIED, at once. What may be an outage is one once the patience is over.
    test.for([
      [
        'a wrong password',
        'DENIED',
        /the password/,
        () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-512&passwordFile=${file('wrong')}`,
      ],
      [
        'a wrong password as it is',
        'DENIED',
        /the password/,
        () => `kafka+ssl://127.0.0.1:${SASL_SSL}?sasl=plain&ca=${ca}&passwordFile=${file('wrong')}`,
      ],
      [
        'a user that is not known',
        'DENIED',
        /the user/,
        () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-256&user=nobody`,
      ],
      ['a broker whose authority is not known', 'DENIED', /ca=FILE/, () => `kafka+ssl://127.0.0.1:${SSL}?${mine}`],
      [
        'a broker of another authority',
        'DENIED',
        /ca=FILE/,
        () => `kafka+ssl://127.0.0.1:${SSL}?ca=${file('strangers.pem')}&${mine}`,
      ],
      [
        'a broker under another name',
        'DENIED',
        /serverName=NAME/,
        () => `kafka+ssl://127.0.0.1:${SSL}?ca=${ca}&${mine}&serverName=broker.example`,
      ],
      ['a missing client certificate', 'DENIED', /cert=FILE/, () => `kafka+ssl://127.0.0.1:${SSL}?ca=${ca}`],
      [
        'a stranger’s client certificate',
        'DENIED',
        /cert=FILE/,
        () => `kafka+ssl://127.0.0.1:${SSL}?ca=${ca}&cert=${file('mallory.pem')}&key=${file('mallory.pem')}`,
      ],
      ['no TLS where TLS is spoken', 'DENIED', /kafka\+ssl:/, () => `kafka://127.0.0.1:${SSL}?`],
      ['TLS where none is spoken', 'UNAVAILABLE', /kafka:/, () => `kafka+ssl://127.0.0.1:${port}?ca=${ca}`],
      ['no user where one is asked for', 'UNAVAILABLE', /sasl=/, () => `kafka://127.0.0.1:${SASL_PLAINTEXT}?`],
      ['a user where none is asked for', 'DENIED', /SASL/, () => `kafka://127.0.0.1:${port}?sasl=scram-sha-512`],
    ] as const)('says of %s that it is %s', async ([, code, says, url]) => {
      await expect(openKafka(`${url()}&driver=${driver}&patienceMs=200`)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(says),
      })
    })

    test('says of a broker whose certificate has expired that it is DENIED', async () => {
      const authority = await createAuthority('Yesterday')
      const ended = await authority.issue('broker', { until: new Date(Date.now() - 60_000) })
      const authorityFile = file(`yesterday-${driver}.pem`)
      await writeFile(authorityFile, authority.cert)
      const listener = createServer(ended, client => {
        client.on('error', () => {})
        client.pipe(connect(port, '127.0.0.1')).pipe(client)
      }).listen(0, '127.0.0.1')
      await once(listener, 'listening')
      const at = (listener.address() as AddressInfo).port
      try {
        await expect(
          openKafka(`kafka+ssl://127.0.0.1:${at}?driver=${driver}&ca=${authorityFile}`),
        ).rejects.toMatchObject({
          code: 'DENIED',
          message: expect.stringMatching(/expired/),
        })
      } finally {
        listener.close()
      }
    })

    test('logs in again before its login ends', async () => {
      const { brokers, sasl } = settingsOf(`kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-256`)
      await using met = make({ brokers, clientId: 'weft-test', timeoutMs: 10_000, sasl })
      const lane = met.lane()
      // A login lasts two seconds at this listener, and after that the broker hangs up.
      for (const end = performance.now() + 5_000; performance.now() < end; await sleep(50)) await lane.metadata([])
    })

    test('reads certificates and passwords anew for each connection', async () => {
      const own = file(`own-${driver}.pem`)
      const password = file(`password-${driver}`)
      const renew = async (good: boolean) => {
        await writeFile(own, await readFile(good ? client : file('mallory.pem')))
        await writeFile(password, good ? user.password : 'wrong')
      }
      await renew(true)
      const tls = settingsOf(`kafka+ssl://127.0.0.1:${SSL}?ca=${ca}&cert=${own}&key=${own}`)
      const sasl = settingsOf(`kafka://127.0.0.1:${SASL_PLAINTEXT}?sasl=scram-sha-256&passwordFile=${password}`)
      const outcomes = async () =>
        Promise.all(
          [tls, sasl].map(async ({ brokers, tls, sasl }) => {
            await using met = make({ brokers, clientId: 'weft-test', timeoutMs: 10_000, tls, sasl })
            return await met
              .lane()
              .metadata([])
              .then(
                () => 'let in',
                ({ code }) => code,
              )
          }),
        )
      expect(await outcomes()).toEqual(['let in', 'let in'])
      await renew(false)
      expect(await outcomes()).toEqual(['TLS_FAILED', 'SASL_AUTHENTICATION_FAILED'])
      await renew(true)
      expect(await outcomes()).toEqual(['let in', 'let in'])
    })
  })
}

if (server) describe('kafka’s listeners that ask who comes', () => cases(server))
else test.skip('kafka’s listeners that ask who comes: not run here, see the last lines', () => {})
