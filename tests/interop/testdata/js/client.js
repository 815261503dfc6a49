// Drives mqtt.js by orders: one JSON object a line in, one event a line out.
'use strict'

const fs = require('node:fs')
const readline = require('node:readline')
const mqtt = require('mqtt')

const peers = new Map()

function tell (peer, event, more = {}) {
  process.stdout.write(JSON.stringify({ peer, event, ...more }) + '\n')
}

class Refused extends Error {
  constructor (code, text) {
    super(text)
    this.code = code
  }
}

function connectOptions (version, login) {
  const { place, will } = login
  const options = {
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    clean: !login.keep,
    reconnectPeriod: 0,
    connectTimeout: 15000
  }
  if (login.id) options.clientId = login.id
  if (login.user) options.username = login.user
  if (login.password) options.password = login.password
  if (version === 5 && login.keep) options.properties = { sessionExpiryInterval: 3600 }
  if (place.ca) {
    options.ca = fs.readFileSync(place.ca)
    options.rejectUnauthorized = true
  }
  if (place.cert) {
    options.cert = fs.readFileSync(place.cert)
    options.key = fs.readFileSync(place.key)
  }
  if (will) {
    options.will = { topic: will.topic, payload: Buffer.from(will.payload, 'hex'), qos: will.qos, retain: will.retain }
  }
  return options
}

function address (place) {
  const scheme = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[place.transport]
  const path = place.transport.startsWith('ws') ? place.path : ''
  return `${scheme}://${place.host}:${place.port}${path}`
}

function connect (order) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(address(order.login.place), connectOptions(order.version, order.login))
    client.on('message', (_topic, _payload, packet) => tell(order.peer, 'message', { message: received(packet) }))
    client.once('connect', connack => resolve({ client, present: connack.sessionPresent }))
    client.once('error', err => reject(new Refused(err.code > 0 ? err.code : 0, String(err.message))))
    client.once('close', () => reject(new Refused(0, 'closed')))
  })
}

function received (packet) {
  const p = packet.properties || {}
  const user = []
  for (const [name, values] of Object.entries(p.userProperties || {})) {
    for (const value of [values].flat()) user.push([name, value])
  }
  return {
    topic: packet.topic,
    payload: packet.payload.toString('hex'),
    qos: packet.qos,
    retain: packet.retain,
    user,
    contentType: p.contentType || '',
    response: p.responseTopic || '',
    correlation: p.correlationData ? p.correlationData.toString() : '',
    expiry: p.messageExpiryInterval || 0
  }
}

function publishOptions (version, message) {
  const options = { qos: message.qos, retain: message.retain }
  if (version !== 5) return options
  const p = options.properties = {}
  if (message.contentType) p.contentType = message.contentType
  if (message.response) p.responseTopic = message.response
  if (message.correlation) p.correlationData = Buffer.from(message.correlation)
  if (message.expiry) p.messageExpiryInterval = message.expiry
  if (message.user) {
    p.userProperties = {}
    for (const [name, value] of message.user) {
      p.userProperties[name] = (p.userProperties[name] || []).concat(value)
    }
  }
  return options
}

const verbs = {
  async listen (order) {
    const { client, present } = await connect(order)
    peers.set(order.peer, client)
    const [granted] = await client.subscribeAsync(order.filter, { qos: order.qos })
    if (granted.qos !== order.qos) throw new Refused(granted.qos, 'SUBACK')
    tell(order.peer, 'ready', { present })
  },
  async publish (order) {
    const { client } = await connect(order)
    const payloads = order.payloads || [order.message.payload]
    await Promise.all(payloads.map(p =>
      client.publishAsync(order.message.topic, Buffer.from(p, 'hex'), publishOptions(order.version, order.message))))
    await client.endAsync()
    tell(order.peer, 'published')
  },
  async abort (order) {
    const client = peers.get(order.peer)
    client.stream.destroy()
    await client.endAsync(true)
    tell(order.peer, 'gone')
  },
  async leave (order) {
    await peers.get(order.peer).endAsync()
    tell(order.peer, 'gone')
  }
}

readline.createInterface({ input: process.stdin }).on('line', line => {
  const order = JSON.parse(line)
  verbs[order.do](order).catch(err => tell(order.peer, 'refused', { code: err.code > 0 ? err.code : 0, text: String(err.message) }))
}).on('close', () => process.exit(0))
